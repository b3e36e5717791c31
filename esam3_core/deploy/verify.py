# SPDX-License-Identifier: Apache-2.0
"""Verify a bundle: every gate that this machine can check, and why it could not check the others."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.emulated import EmulatedLoop
from esam3_core.deploy.gates import LEAST, Clip, Finding, judge, record, run_engine, run_graph
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.loop import Loop
from esam3_core.deploy.loop_search import Kept, LoopSearch
from esam3_core.deploy.machine import describe_machine
from esam3_core.deploy.search import Candidate, judge_typed, search
from esam3_core.deploy.typed_graphs import read_kept, write_kept
from esam3_core.deploy.verdict import Verdict, failure
from esam3_core.deploy.watched import Feeds
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import Engine, choose_backend
from esam3_core.runtime.errors import Esam3Error

Say = Callable[[str], None]


def verify(bundle: Bundle, precision: str, clip: Clip, with_search: bool = False, say: Say = print) -> Verdict:
    """Run every gate that can be run here.

    Args:
        with_search: where typed gate or loop fail, look for nodes to leave out of the precision, and note them in
            the bundle.

    Raises:
        OSError: what a search found cannot be written into the bundle.
    """
    verdict = Verdict(bundle.name, precision, clip, describe_machine())
    feeds = record(bundle, clip)
    say(f"{bundle.name}: recorded " + ", ".join(f"{len(runs)} runs of {graph}" for graph, runs in feeds.items()))
    for graph in bundle.graphs:
        if graph not in feeds:
            verdict.skipped[f"graph {graph}"] = "it did not run in this clip"
    _torch_gate(bundle, feeds, verdict)
    choice = choose_backend(bundle.folder, RuntimeConfig())
    candidates = {
        graph: Candidate(read_graph(path), graph, precision, feeds.get(graph, ()))
        for graph, path in bundle.graphs.items()
    }
    known = read_kept(bundle, precision)
    kept: Kept = {graph: frozenset(known.get(graph, ())) for graph in bundle.graphs}
    loop = EmulatedLoop(bundle, clip, candidates)
    if with_search:
        kept = _search(candidates, kept, feeds, bundle, loop, say)
    verdict.kept = {graph: tuple(sorted(nodes)) for graph, nodes in kept.items()}
    _typed_gate(bundle, feeds, verdict, candidates)
    if choice.backend == "tensorrt":
        _engine_gate(bundle, feeds, verdict)
        verdict.findings.append(Loop(bundle, clip).judge(RuntimeConfig(backend="tensorrt")))
    else:
        verdict.skipped["engine"] = choice.reason
        verdict.findings.append(loop.judge(kept))
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


def _search(
    candidates: Mapping[str, Candidate], kept: Kept, feeds: dict[str, list[Feeds]], bundle: Bundle,
    loop: EmulatedLoop, say: Say,
) -> Kept:  # fmt: skip
    """What has to be left out of the precision: first for each graph alone, then for the loop; noted in the bundle."""
    nodes: dict[str, dict[str, str]] = {}
    for graph, runs in feeds.items():
        candidate, reference = candidates[graph], run_graph(bundle.graphs[graph])
        nodes[graph] = candidate.nodes
        found = judge_typed(candidate, kept[graph], reference, runs)
        if not all(finding.passed for finding in found):
            searched = search(candidate, reference, runs, say)
            kept = {**kept, graph: frozenset(searched.kept)}
            nodes[graph] = {node: candidate.nodes[node] for node in searched.order}  # what harms least is tried first
    whole = LoopSearch(nodes, lambda tried: loop.judge(tried).mean, LEAST["loop"], say)
    whole.run(kept)
    noted = {graph: tuple(sorted(left)) for graph, left in whole.kept.items()}
    precision = next(iter(candidates.values())).precision
    say(f"loop {whole.agreement:.4f} after {whole.runs} runs; wrote {write_kept(bundle, precision, noted)}")
    return whole.kept


def _typed_gate(
    bundle: Bundle, feeds: dict[str, list[Feeds]], verdict: Verdict, candidates: Mapping[str, Candidate]
) -> None:
    if verdict.precision == "fp32":
        verdict.skipped["typed"] = "fp32 graphs are the bundle's own"
        return
    for graph, runs in feeds.items():
        reference = run_graph(bundle.graphs[graph])
        verdict.findings += judge_typed(candidates[graph], verdict.kept[graph], reference, runs)


def _engine_gate(bundle: Bundle, feeds: dict[str, list[Feeds]], verdict: Verdict) -> None:
    from esam3_core.runtime.tensorrt_engine import open_tensorrt

    for graph, runs in feeds.items():
        engine = open_tensorrt(bundle.graphs[graph], bundle.digests[graph])
        verdict.findings += judge("engine", graph, run_graph(bundle.graphs[graph]), run_engine(engine), runs)


def check_engine(engine: Engine, graph: str, reference: Path, runs: Sequence[Feeds]) -> None:
    """The engine gate for one engine that was just built.

    Raises:
        Esam3Error: it says something else than the graph; the message names graph and output.
    """
    for finding in judge("engine", graph, run_graph(reference), run_engine(engine), runs):
        if not finding.passed:
            raise Esam3Error(failure(finding))


def check_loop(bundle: Bundle, clip: Clip, engines: Mapping[str, Engine]) -> Finding:
    """The loop gate for engines that were just built and are not in use yet.

    Args:
        engines: graph -> engine, for every graph of the bundle.

    Raises:
        Esam3Error: a tracker with them draws other masks; the message names the remedy.
    """
    finding = Loop(bundle, clip).judge(watch=lambda path, _: engines[path.stem])
    if not finding.passed:
        raise Esam3Error(
            f"{failure(finding)}: run `esam3 verify {bundle.folder} --search` on a PC, copy its precision.json into "
            "the bundle and build again, or use --precision fp32; engines that were in use before stay in use"
        )
    return finding
