# SPDX-License-Identifier: Apache-2.0
"""Verify a bundle: every gate that this machine can check, and why it could not check the others."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.gates import LEAST, REFERENCE, Clip, Finding, judge, judge_loop, record, run_engine, run_graph
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.machine import describe_machine
from esam3_core.deploy.precision import emulate
from esam3_core.deploy.search import Candidate, judge_typed, search
from esam3_core.deploy.typed_graphs import kept_single, prepared, read_kept, write_kept
from esam3_core.deploy.watched import Feeds
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import Engine, OnnxEngine, choose_backend
from esam3_core.runtime.errors import Esam3Error

STRICTEST = 0.99999  # cosine from which a search for the sake of the loop asks for no more
Say = Callable[[str], None]


@dataclass
class Verdict:
    """What was found."""

    bundle: str
    precision: str
    clip: Clip
    machine: dict[str, str]
    findings: list[Finding] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # gate -> why it could not be checked here
    kept: dict[str, tuple[str, ...]] = field(default_factory=dict)  # graph -> nodes left out beside the rules

    @property
    def failed(self) -> list[Finding]:
        """Findings below their gate."""
        return [finding for finding in self.findings if not finding.passed]


def verify(bundle: Bundle, precision: str, clip: Clip, with_search: bool = False, say: Say = print) -> Verdict:
    """Run every gate that can be run here.

    Args:
        with_search: where typed gate or loop fail, look for nodes to leave out of the precision, and note them in
            the bundle.
    """
    verdict = Verdict(bundle.name, precision, clip, describe_machine())
    feeds = record(bundle, clip)
    say(f"{bundle.name}: recorded " + ", ".join(f"{len(runs)} runs of {graph}" for graph, runs in feeds.items()))
    for graph in bundle.graphs:
        if graph not in feeds:
            verdict.skipped[f"graph {graph}"] = "it did not run in this clip"
    _torch_gate(bundle, feeds, verdict)
    least = LEAST["typed"]
    typed = _typed_gate(bundle, feeds, verdict, least if with_search else 0.0, say)
    choice = choose_backend(bundle.folder, RuntimeConfig())
    loop = None if choice.backend == "tensorrt" and not with_search else _emulated_loop(bundle, feeds, verdict)
    while with_search and loop and not loop.passed and least < STRICTEST:
        least = 1 - (1 - least) / 4
        say(f"the loop agrees to {loop.mean:.4f} only: looking again, every output has to reach {least:.6f}")
        typed = _typed_gate(bundle, feeds, verdict, least, say)
        loop = _emulated_loop(bundle, feeds, verdict)
    verdict.findings += typed
    if choice.backend == "tensorrt":
        _engine_gate(bundle, feeds, verdict)
        loop = judge_loop(bundle, clip, RuntimeConfig(backend="tensorrt"))
    else:
        verdict.skipped["engine"] = choice.reason
    if loop:
        verdict.findings.append(loop)
    return verdict


def _torch_gate(bundle: Bundle, feeds: dict[str, list[Feeds]], verdict: Verdict) -> None:
    if importlib.util.find_spec("torch") is None:
        verdict.skipped["onnx"] = "torch is not installed"
        return
    from esam3_core.deploy.torch_reference import torch_runs

    try:
        runs = torch_runs(bundle)
    except (ValueError, OSError) as error:
        verdict.skipped["onnx"] = f"no torch student can be made from this bundle: {error}"
        return
    for graph in feeds:
        found = judge("onnx", graph, runs[graph], run_graph(bundle.graphs[graph]), feeds[graph])
        verdict.findings += found


def _typed_gate(
    bundle: Bundle, feeds: dict[str, list[Feeds]], verdict: Verdict, search_below: float, say: Say
) -> list[Finding]:
    """The typed gate of every graph; those with an output below `search_below` are searched."""
    if verdict.precision == "fp32":
        verdict.skipped["typed"] = "fp32 graphs are the bundle's own"
        return []
    findings: list[Finding] = []
    known = read_kept(bundle, verdict.precision)
    for graph, runs in feeds.items():
        model, reference = read_graph(bundle.graphs[graph]), run_graph(bundle.graphs[graph])
        candidate = Candidate(model, graph, verdict.precision, runs)
        kept = known.get(graph, ())
        found = judge_typed(candidate, kept, reference, runs)
        if min(finding.worst for finding in found) < search_below:
            kept = search(candidate, reference, runs, say, search_below).kept
            found = judge_typed(candidate, kept, reference, runs)
        verdict.kept[graph] = tuple(kept)
        findings += found
    if search_below:
        say(f"wrote {write_kept(bundle, verdict.precision, verdict.kept)}")
    return findings


def _engine_gate(bundle: Bundle, feeds: dict[str, list[Feeds]], verdict: Verdict) -> None:
    from esam3_core.runtime.tensorrt_engine import open_tensorrt

    for graph, runs in feeds.items():
        engine = open_tensorrt(bundle.graphs[graph], bundle.digests[graph])
        verdict.findings += judge("engine", graph, run_graph(bundle.graphs[graph]), run_engine(engine), runs)


def _emulated_loop(bundle: Bundle, feeds: dict[str, list[Feeds]], verdict: Verdict) -> Finding:
    """The loop with graphs that round as the precision would."""
    with tempfile.TemporaryDirectory() as scratch:
        for graph in bundle.graphs:
            kept = verdict.kept.get(graph, ())
            model = prepared(bundle, graph, verdict.precision, feeds, kept)
            rounded = emulate(model, graph, verdict.precision, kept_single(verdict.precision, kept))
            onnx.save(rounded, str(Path(scratch) / f"{graph}.onnx"))

        def replace(path: Path, _: Engine) -> Engine:
            return OnnxEngine(Path(scratch) / path.name, REFERENCE)

        return judge_loop(bundle, verdict.clip, REFERENCE, replace)


def check_engine(engine: Engine, graph: str, reference: Path, runs: Sequence[Feeds]) -> None:
    """The engine gate for one engine that was just built.

    Raises:
        Esam3Error: it says something else than the graph; the message names graph and output.
    """
    for finding in judge("engine", graph, run_graph(reference), run_engine(engine), runs):
        if not finding.passed:
            raise Esam3Error(failure(finding))


def failure(finding: Finding) -> str:
    """A failing gate in one sentence."""
    value = finding.mean if finding.gate == "loop" else finding.worst
    return f"gate {finding.gate} failed: {finding.graph}, output {finding.output}: {value:.5f} ({finding.runs} runs)"


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain values."""
    return {
        "bundle": verdict.bundle,
        "precision": verdict.precision,
        "passed": not verdict.failed,
        "machine": verdict.machine,
        "clip": {"source": verdict.clip.source or "our own pictures", "concepts": list(verdict.clip.concepts),
                 "frames": verdict.clip.frames},
        "gates": [
            {"gate": one.gate, "graph": one.graph, "output": one.output, "least": LEAST[one.gate],
             "worst": round(one.worst, 6), "mean": round(one.mean, 6), "runs": one.runs, "passed": one.passed}
            for one in verdict.findings
        ],
        "skipped": verdict.skipped,
        "left_out": {graph: list(nodes) for graph, nodes in verdict.kept.items() if nodes},
    }  # fmt: skip


def as_markdown(verdict: Verdict) -> str:
    """The verdict as a page."""
    clip = verdict.clip
    lines = [
        f"# {verdict.bundle}, {verdict.precision}: " + ("every gate passed" if not verdict.failed else "FAILED"),
        "",
        f"{clip.frames} frames of {clip.source or 'our own pictures'}, concepts {', '.join(clip.concepts)}. "
        + ", ".join(f"{name} {value}" for name, value in verdict.machine.items()) + ".",
        "",
        "| gate | graph | output | worst | mean | runs | |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one.gate} | {one.graph} | {one.output} | {one.worst:.5f} | {one.mean:.5f} | {one.runs} | "
            + ("passed |" if one.passed else "**failed** |")
            for one in verdict.findings
        ),
        "",
        *(f"Not checked here: {gate}: {reason}" for gate, reason in verdict.skipped.items()),
        *(f"Left out of {verdict.precision} in {graph}: {len(nodes)} nodes"
          for graph, nodes in verdict.kept.items() if nodes),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"
