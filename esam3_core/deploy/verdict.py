# SPDX-License-Identifier: Apache-2.0
"""What a verification found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from esam3_core.deploy.gates import LEAST, Clip, Finding


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


def failure(finding: Finding) -> str:
    """A failing gate in one sentence."""
    value = finding.mean if finding.gate == "loop" else finding.worst
    note = f"; {finding.note}" if finding.note else ""
    return (
        f"gate {finding.gate} failed: {finding.graph}, output {finding.output}: {value:.5f} ({finding.runs} runs{note})"
    )


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
             "worst": round(one.worst, 6), "mean": round(one.mean, 6), "runs": one.runs, "passed": one.passed,
             "note": one.note}
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
        *(f"Gate {one.gate}: {one.note}." for one in verdict.findings if one.note),
        *(f"Not checked here: {gate}: {reason}" for gate, reason in verdict.skipped.items()),
        *(f"Left out of {verdict.precision} in {graph}: {len(nodes)} nodes"
          for graph, nodes in verdict.kept.items() if nodes),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"
