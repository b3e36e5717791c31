# SPDX-License-Identifier: Apache-2.0
"""Turns: which concepts are looked for on a frame."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from esam3_core.runtime.turns import Turns

FIVE = ["cup", "bowl", "bottle", "book", "apple"]


def play(turns: Turns, concepts: list[str], every: int, frames: int) -> list[list[str]]:
    """What is looked for on each of the next frames."""
    played = []
    for _ in range(frames):
        played.append(turns.due(concepts, every))
        turns.next_frame(concepts, played[-1])
    return played


def test_everything_is_looked_for_on_the_first_frame_then_concepts_take_turns():
    assert play(Turns(), FIVE, 3, 9) == [
        FIVE, [], [],
        ["cup", "bowl"], ["bottle", "book"], ["apple"],
        ["cup", "bowl"], ["bottle", "book"], ["apple"],
    ]  # fmt: skip


def test_one_concept_has_every_nth_frame():
    assert play(Turns(), ["cup"], 4, 9) == [["cup"], [], [], [], ["cup"], [], [], [], ["cup"]]


def test_who_was_looked_for_out_of_turn_waits_anew():
    turns = Turns()
    play(turns, ["cup"], 3, 2)
    turns.next_frame(["cup"], ["cup"])
    assert play(turns, ["cup"], 3, 3) == [[], [], ["cup"]]


def test_a_new_concept_and_a_restart_are_due_at_once():
    turns = Turns()
    play(turns, ["cup"], 5, 2)
    assert turns.due(["cup", "bowl"], 5) == ["bowl"]
    turns.restart()
    assert turns.due(["cup", "bowl"], 5) == ["cup", "bowl"]


@given(count=st.integers(1, 12), every=st.integers(1, 9))
def test_nobody_waits_for_long_and_no_frame_has_more_than_its_share(count: int, every: int):
    concepts = [f"c{index}" for index in range(count)]
    played = play(Turns(), concepts, every, 6 * every)
    assert all(len(due) <= math.ceil(count / every) for due in played[1:])
    for concept in concepts:
        asked = [frame for frame, due in enumerate(played) if concept in due]
        assert max(later - earlier for earlier, later in itertools.pairwise(asked)) < 2 * every
        assert {later - earlier for earlier, later in itertools.pairwise(asked[2:])} <= {every}


@pytest.mark.parametrize("every", [1, 2])
def test_without_concepts_nobody_is_due(every):
    assert Turns().due([], every) == []
