# SPDX-License-Identifier: Apache-2.0
"""Finds the nodes of a graph that have to stay in single precision for it to pass its gate.

The graph is cut into blocks of neighbouring nodes. Each block's own damage is measured with all others in single; the
worst ones stay single, as few as it takes, and in the end each of them is halved to see which half may go back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto

from esam3_core.deploy.gates import LEAST, Finding, Run, judge, run_graph
from esam3_core.deploy.precision import NARROW, choose_narrow, emulate
from esam3_core.deploy.watched import Feeds

BLOCKS = 12


@dataclass(frozen=True)
class Searched:
    """What came of a search."""

    kept: tuple[str, ...]  # nodes that stay single
    narrow: int  # nodes that are computed narrow
    worst: float  # cosine of the worst output in the worst run
    passed: bool


def search(
    model: ModelProto, graph: str, precision: str, reference: Run, feeds: Sequence[Feeds],
    say: Callable[[str], None] = lambda _: None,
) -> Searched:  # fmt: skip
    """Nodes of a graph that must stay single.

    Args:
        model: as `graph_file.read_graph` gives it.
        reference: a call of the same graph in single precision.
        feeds: runs to judge by.
        say: told what is found.
    """
    narrow = choose_narrow(model, (), NARROW[precision])
    ordered = [node.output[0] for node in model.graph.node if node.output[0] in narrow]

    def worst_with(kept: set[str]) -> float:
        return min(finding.worst for finding in judge_typed(model, graph, precision, kept, reference, feeds))

    kept: set[str] = set()
    worst = worst_with(kept)
    if worst < LEAST["typed"]:
        say(f"{graph}: {precision} gives {worst:.5f}, looking for what must stay single")
        blocks = _blocks(ordered)
        damage = sorted(((worst_with(set(ordered) - set(block)), block) for block in blocks), key=lambda pair: pair[0])
        for alone, block in damage:
            kept |= set(block)
            worst = worst_with(kept)
            say(f"{graph}: without {block[0]} .. {block[-1]} ({alone:.5f} alone): {worst:.5f}")
            if worst >= LEAST["typed"]:
                break
        for _, block in damage:
            for half in (block[: len(block) // 2], block[len(block) // 2 :]):
                if half and set(half) <= kept and (found := worst_with(kept - set(half))) >= LEAST["typed"]:
                    kept, worst = kept - set(half), found
    return Searched(tuple(sorted(kept)), len(ordered) - len(kept), worst, worst >= LEAST["typed"])


def judge_typed(
    model: ModelProto, graph: str, precision: str, kept: set[str] | tuple[str, ...], reference: Run,
    feeds: Sequence[Feeds],
) -> list[Finding]:  # fmt: skip
    """The typed gate of one graph, by rounding emulated in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{graph}.onnx"
        onnx.save(emulate(model, graph, precision, kept), str(path))
        return judge("typed", graph, reference, run_graph(path), feeds)


def _blocks(ordered: list[str]) -> list[list[str]]:
    size = max(1, -(-len(ordered) // BLOCKS))
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
