# SPDX-License-Identifier: Apache-2.0
"""Exemplars of another picture: what they may show, of what is there and of what is not."""

from __future__ import annotations

import numpy as np

from esam3_core.data.sample import Label, Sample
from esam3_core.distill.prompts import Example, Prompt
from esam3_core.distill.showing import show_elsewhere

RED_CUP = Label(frozenset({"cup", "red cup"}), attributed=True)
BLUE_CUP = Label(frozenset({"cup", "blue cup"}), attributed=True)
FORK = Label(frozenset({"fork"}), attributed=True)


def sample(*labels: Label) -> Sample:
    return Sample(np.zeros((8, 8, 3), np.uint8), np.zeros((len(labels), 8, 8), np.uint8), list(labels))


def ask(*prompts: Prompt, share: float = 1.0, seed: int = 0) -> list[Prompt]:
    """The prompts of a picture of a fork beside one of a blue and a red cup."""
    pictures = [sample(FORK), sample(BLUE_CUP, RED_CUP)]
    return show_elsewhere([list(prompts), []], pictures, share, np.random.default_rng(seed))[0]


def test_what_is_absent_here_is_shown_where_it_is():
    (asked,) = ask(Prompt("cup", "cup", ()))
    assert asked.shown_in == 1 and asked.hits == ()
    assert [example.positive for example in asked.examples] == [True]


def test_a_box_shows_what_the_whole_phrase_says_and_the_phrase_is_said():
    for seed in range(8):
        (asked,) = ask(Prompt("a red cup", "red cup", ()), seed=seed)
        assert [example.instance for example in asked.examples] == [1] and asked.named


def test_a_noun_is_sometimes_shown_without_its_word():
    assert {ask(Prompt("cup", "cup", ()), seed=seed)[0].named for seed in range(16)} == {True, False}


def test_what_no_other_picture_has_and_what_is_shown_already_stay_as_they_are():
    shown = Prompt("cup", "cup", (0,), (Example(0, True),))
    fork = Prompt("fork", "fork", (0,))
    assert ask(fork, shown) == [fork, shown]


def test_a_share_of_the_prompts_is_shown():
    prompts = [Prompt("cup", "cup", ())] * 200
    assert 20 < sum(bool(asked.examples) for asked in ask(*prompts, share=0.2)) < 70
    assert not any(asked.examples for asked in ask(*prompts, share=0.0))
