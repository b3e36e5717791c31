# SPDX-License-Identifier: Apache-2.0
"""Finds what has to be left out of a precision for the closed loop to agree, where every graph passes alone.

A run of the loop takes as long as tracking the clip, so it is bisected: by graph, then by kind of node (products first,
they are what a precision makes faster), then by halves of a graph. Whole graphs are left out, the one that helps most
first, until the loop agrees; then as much of them as the loop allows is given back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from esam3_core.deploy.precision import PRODUCTS

FINEST = 8  # parts of a graph's nodes of one kind that are given back or left out together
Kept = dict[str, frozenset[str]]
"""Graph -> first outputs of nodes that are left out of the precision."""
Judge = Callable[[Kept], float]
"""How far the loop agrees with these left out."""


@dataclass
class LoopSearch:
    """A search under way, and in the end what came of it."""

    nodes: Mapping[str, Mapping[str, str]]  # graph -> nodes that may be left out, given back in this order -> kinds
    judge: Judge
    least: float
    say: Callable[[str], None] = lambda _: None
    kept: Kept = field(default_factory=dict)
    agreement: float = 0.0
    runs: int = 0

    def run(self, kept: Kept) -> bool:
        """Search; whether the loop agrees to `least` with what is `kept` in the end.

        Args:
            kept: what is left out already, and stays so.
        """
        self.kept, self.agreement = kept, self._ask(kept)
        if self.agreement >= self.least:
            return True
        self.say(f"the loop agrees to {self.agreement:.4f} only: looking for what must be left out")
        left = self._leave_graphs()
        if self.agreement < self.least:
            return False
        for graph in sorted(left, key=lambda graph: -len(left[graph])):
            for block in _by_kind(self.nodes[graph], left[graph]):
                self._give_back(graph, block, max(1, len(block) // FINEST))
        return True

    def _leave_graphs(self) -> dict[str, frozenset[str]]:
        """Leave whole graphs out until the loop agrees; returns what was left out of each beside what was before."""
        before = self.kept
        open_nodes = {graph: frozenset(nodes) - before.get(graph, frozenset()) for graph, nodes in self.nodes.items()}
        alone = {}
        for graph in (graph for graph, nodes in open_nodes.items() if nodes):
            alone[graph] = self._ask(_with(before, graph, open_nodes[graph]))
            self.say(f"without {graph}: {alone[graph]:.4f}")
        left: dict[str, frozenset[str]] = {}
        for graph in sorted(alone, key=lambda graph: -alone[graph]):
            left[graph] = open_nodes[graph]
            self.kept = _with(self.kept, graph, open_nodes[graph])
            self.agreement = alone[graph] if len(left) == 1 else self._ask(self.kept)
            if self.agreement >= self.least:
                break
        self.say(f"without {', '.join(left)}: {self.agreement:.4f}")
        return left

    def _give_back(self, graph: str, block: Sequence[str], smallest: int) -> None:
        """Compute a block in the precision again if the loop allows it, else whichever halves of it it allows."""
        kept = {**self.kept, graph: self.kept[graph] - frozenset(block)}
        found = self._ask(kept)
        if found >= self.least:
            self.kept, self.agreement = kept, found
            self.say(f"{graph}: {block[0]} .. {block[-1]} given back ({len(block)}): {found:.4f}")
        elif len(block) > smallest:
            middle = len(block) // 2
            self._give_back(graph, block[:middle], smallest)
            self._give_back(graph, block[middle:], smallest)

    def _ask(self, kept: Kept) -> float:
        self.runs += 1
        return self.judge(kept)


def _with(kept: Kept, graph: str, more: frozenset[str]) -> Kept:
    return {**kept, graph: kept.get(graph, frozenset()) | more}


def _by_kind(kinds: Mapping[str, str], left: frozenset[str]) -> list[list[str]]:
    """Products, then everything else, each in the order given."""
    ordered = [node for node in kinds if node in left]
    products = [node for node in ordered if kinds[node] in PRODUCTS]
    others = [node for node in ordered if kinds[node] not in PRODUCTS]
    return [block for block in (products, others) if block]
