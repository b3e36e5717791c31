# SPDX-License-Identifier: Apache-2.0
"""Finds the nodes of a graph that have to be left out of a precision for it to pass its gate.

The graph is cut into blocks of neighbouring nodes, for int8 into single products. Each block's own damage is measured
with all others left out; the worst ones stay out, as few as it takes (bisected), and in the end each of them is halved
to see which half may go back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto

from esam3_core.deploy.gates import LEAST, Finding, Run, judge, run_graph
from esam3_core.deploy.precision import NARROW, WHOLE, choose_narrow, emulate
from esam3_core.deploy.quantise import quantisable, quantise, unquantise
from esam3_core.deploy.watched import Feeds

BLOCKS = 12  # of half precision, whose graphs have hundreds of nodes
GLANCE = 2  # runs by which the damage of a block is measured; whether a graph passes is asked of all


@dataclass(frozen=True)
class Searched:
    """What came of a search."""

    kept: tuple[str, ...]  # nodes that are left out
    narrow: int  # nodes that are computed in the precision
    worst: float  # closeness of the worst output in the worst run
    passed: bool
    order: tuple[str, ...]  # all nodes, those that harm least first; in the order of the graph if nothing was searched


def search(
    candidate: Candidate, reference: Run, feeds: Sequence[Feeds], say: Callable[[str], None] = lambda _: None,
    least: float = LEAST["typed"],
) -> Searched:  # fmt: skip
    """Nodes of a graph that must not be computed in the precision: in int8 they are left in half, else in single.

    Args:
        reference: a call of the same graph in single precision.
        feeds: runs to judge by.
        say: told what is found.
        least: closeness that every output has to reach.
    """
    graph, precision, ordered = candidate.graph, candidate.precision, list(candidate.nodes)
    known = {id(feed): reference(feed) for feed in feeds}

    def worst_with(kept: set[str], runs: Sequence[Feeds] = feeds) -> float:
        return min(finding.worst for finding in judge_typed(candidate, kept, lambda feed: known[id(feed)], runs))

    worst = worst_with(set())
    if worst >= least or not ordered:
        return Searched((), len(ordered), worst, worst >= least, tuple(ordered))
    say(f"{graph}: {precision} gives {worst:.5f}, looking for what must be left out")
    glance = feeds[:: -(-len(feeds) // GLANCE)]
    blocks = _blocks(ordered, 1 if precision == "int8" else -(-len(ordered) // BLOCKS))
    alone = {block[0]: worst_with(set(ordered) - set(block), glance) for block in blocks}
    damage = sorted(blocks, key=lambda block: alone[block[0]])
    few, many = 1, len(damage)
    while few < many:
        middle = (few + many) // 2
        passes = worst_with(set().union(*damage[:middle])) >= least
        few, many = (few, middle) if passes else (middle + 1, many)
    kept = set().union(*damage[:few])
    worst = worst_with(kept)
    for block in damage[:few]:
        say(f"{graph}: without {block[0]} .. {block[-1]} ({alone[block[0]]:.5f} alone)")
        for half in (block[: len(block) // 2], block[len(block) // 2 :]) if len(block) > 1 else ():
            if (found := worst_with(kept - set(half))) >= least:
                kept, worst = kept - set(half), found
    say(f"{graph}: {worst:.5f} without {len(kept)} of {len(ordered)} nodes")
    order = tuple(node for block in reversed(damage) for node in block)
    return Searched(tuple(sorted(kept)), len(ordered) - len(kept), worst, worst >= least, order)


class Candidate:
    """A graph in a precision, with any set of nodes left out of it."""

    def __init__(self, model: ModelProto, graph: str, precision: str, feeds: Sequence[Feeds]) -> None:
        """`nodes` are those that may be left out (first output -> kind), in the order of the graph.

        Args:
            model: as `graph_file.read_graph` gives it.
            feeds: runs on which the ranges of int8 are measured; without any, an int8 graph stays in half.
        """
        self.graph = graph
        self.precision = precision
        self._model = model
        self._quantised = quantise(model, graph, feeds) if precision == "int8" and feeds else None
        self.nodes: dict[str, str] = {}
        if graph in WHOLE or precision == "fp32":
            return
        if precision == "int8":
            chosen = quantisable(model) if feeds else []
        else:
            narrow = choose_narrow(model, (), NARROW[precision])
            chosen = [node for node in model.graph.node if node.output[0] in narrow]
        self.nodes = {node.output[0]: node.op_type for node in chosen}

    def emulated(self, kept: Collection[str]) -> ModelProto:
        """The graph rounding as the precision would, but for `kept`."""
        if self._quantised is not None:
            return emulate(unquantise(self._quantised, self._model, kept), self.graph, self.precision)
        single = () if self.precision == "int8" else kept
        return emulate(self._model, self.graph, self.precision, single)


def judge_typed(candidate: Candidate, kept: Collection[str], reference: Run, feeds: Sequence[Feeds]) -> list[Finding]:
    """The typed gate of one graph, by rounding emulated in ONNX Runtime."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / f"{candidate.graph}.onnx"
        onnx.save(candidate.emulated(kept), str(path))
        return judge("typed", candidate.graph, reference, run_graph(path), feeds)


def _blocks(ordered: list[str], size: int) -> list[list[str]]:
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]
