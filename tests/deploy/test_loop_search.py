# SPDX-License-Identifier: Apache-2.0
"""Where graphs pass alone and the loop fails, a search leaves out what the loop demands, with few runs of the loop."""

from __future__ import annotations

import json

import pytest

from esam3_core.deploy.gates import LEAST, Clip
from esam3_core.deploy.loop_search import Kept, LoopSearch
from esam3_core.deploy.typed_graphs import RECORD, read_kept, typed_graphs
from esam3_core.deploy.verify import verify
from esam3_core.runtime.bundle import Bundle

NODES = {
    graph: {f"{graph}{index}": "Conv" if index % 2 else "Add" for index in range(64)}
    for graph in ("eye", "head", "past")
}


class Loop:
    """Agrees to 0.99 less what each harmful node costs while it is computed in the precision."""

    def __init__(self, **cost: float) -> None:
        self.cost = cost
        self.asked: list[Kept] = []

    def __call__(self, kept: Kept) -> float:
        self.asked.append(kept)
        left = frozenset().union(*kept.values())
        return 0.99 - sum(cost for node, cost in self.cost.items() if node not in left)


def test_a_loop_that_agrees_is_asked_once() -> None:
    loop = Loop()
    search = LoopSearch(NODES, loop, 0.97)
    assert search.run({}) and search.kept == {} and search.runs == 1


def test_only_the_part_of_the_graph_that_harms_is_left_out() -> None:
    loop = Loop(head21=0.1)
    said: list[str] = []
    search = LoopSearch(NODES, loop, 0.97, said.append)
    assert search.run({graph: frozenset() for graph in NODES})
    assert not search.kept["eye"] and not search.kept["past"]
    assert "head21" in search.kept["head"] and len(search.kept["head"]) == 4
    assert search.agreement == pytest.approx(0.99) and search.runs == len(loop.asked) <= 16
    assert said[0].startswith("the loop agrees to 0.8900 only") and "without head: 0.9900" in said


def test_harm_in_several_graphs_is_found() -> None:
    search = LoopSearch(NODES, Loop(head21=0.1, past2=0.1), 0.97)
    assert search.run({})
    assert "head21" in search.kept["head"] and "past2" in search.kept["past"] and "eye" not in search.kept
    assert len(search.kept["head"]) == len(search.kept["past"]) == 4


def test_what_was_left_out_before_stays_out() -> None:
    before = {"head": frozenset({"head3"})}
    search = LoopSearch(NODES, Loop(past2=0.1), 0.97)
    assert search.run(before)
    assert search.kept["head"] == {"head3"} and "past2" in search.kept["past"]


def test_where_nothing_helps_it_says_so() -> None:
    search = LoopSearch(NODES, Loop(other=0.1), 0.97)
    assert not search.run({}) and search.agreement == pytest.approx(0.89)


def test_the_command_searches_until_the_loop_agrees_and_notes_what_it_found(
    own_colours: Bundle, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No precision is so rough that this student loses the loop: the bar is one that only single precision passes."""
    monkeypatch.setitem(LEAST, "loop", 1.0)
    said: list[str] = []
    short = Clip(clip.source, clip.concepts, 4, 1)
    verdict = verify(own_colours, "bf16", short, with_search=True, say=said.append)
    loop = next(finding for finding in verdict.findings if finding.gate == "loop")
    assert loop.passed and any(verdict.kept.values())
    assert any(line.startswith("the loop agrees to 0.") for line in said)
    assert read_kept(own_colours, "bf16") == verdict.kept
    assert set(json.loads((own_colours.folder / RECORD).read_text())) == {"bf16"}
    assert typed_graphs(own_colours, "bf16")["detector"].kept == verdict.kept["detector"]
