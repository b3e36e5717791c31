# SPDX-License-Identifier: Apache-2.0
"""Prompts are asked only where the answer is known, and the answer is right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esam3_core.data.sample import Label, Sample, noun_of, truth
from esam3_core.distill.prompts import choose_prompts, reworded
from esam3_core.distill.text.phrases import plural
from esam3_core.scenes.vocabulary import NOUNS, SYNONYMS

OTHERS = ["laptop", "mug tree", "shoe"]


def scene() -> Sample:
    labels = [
        Label(frozenset({"mug", "cup", "red mug", "red cup"}), attributed=True),
        Label(frozenset({"mug", "cup", "blue mug", "blue cup"}), attributed=True),
        Label(frozenset({"bowl", "striped bowl"}), attributed=True),
    ]
    masks = np.ones((3, 4, 4), np.uint8)
    return Sample(np.zeros((4, 4, 3), np.uint8), masks, labels, absent=("green mug", "blue bowl"))


def picture() -> Sample:
    """A real picture: a cup that may be a mug, and no word about plates."""
    labels = [Label(frozenset({"cup"}), frozenset({"mug"}))]
    masks = np.ones((1, 4, 4), np.uint8)
    return Sample(np.zeros((4, 4, 3), np.uint8), masks, labels, known_nouns=frozenset({"cup", "bottle", "person"}))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000), count=st.integers(1, 6), real=st.booleans())
def test_every_answer_is_the_truth(seed: int, count: int, real: bool) -> None:
    sample = picture() if real else scene()
    prompts = choose_prompts(sample, count, OTHERS, np.random.default_rng(seed))
    assert len(prompts) <= count
    assert len({prompt.phrase for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        if prompt.phrase in OTHERS:
            assert prompt.hits == ()
        else:
            assert list(prompt.hits) == truth(sample, prompt.phrase)


@given(st.integers(0, 100_000))
def test_true_and_false_phrases_are_both_asked(seed: int) -> None:
    prompts = choose_prompts(scene(), 4, OTHERS, np.random.default_rng(seed))
    assert len(prompts) == 4
    assert any(prompt.hits for prompt in prompts) and any(not prompt.hits for prompt in prompts)


@given(st.integers(0, 100_000))
def test_a_noun_outside_the_vocabulary_that_names_part_of_a_label_is_not_denied(seed: int) -> None:
    prompts = choose_prompts(scene(), 6, ["mug tree"], np.random.default_rng(seed))
    assert "mug tree" not in {prompt.phrase for prompt in prompts}


def test_what_a_thing_looks_like_is_denied_more_often_than_other_nouns() -> None:
    """Whether a can is a mug is the harder question, and the one that users meet."""
    denied = [
        prompt.phrase
        for seed in range(600)
        for prompt in choose_prompts(scene(), 4, [], np.random.default_rng(seed))
        if not prompt.hits and prompt.phrase in NOUNS
    ]
    often = {noun: denied.count(noun) for noun in NOUNS}
    assert min(often["can"], often["vase"]) > 2 * max(often["fork"], often["banana"])


def test_another_noun_that_hardly_shows_is_not_denied() -> None:
    sample = picture()
    sample.hidden.append(Label(frozenset({"laptop"})))
    for seed in range(100):
        prompts = choose_prompts(sample, 4, ["laptop"], np.random.default_rng(seed))
        assert "laptop" not in {prompt.phrase for prompt in prompts}


def test_a_picture_of_which_nothing_is_known_gives_other_nouns_only() -> None:
    nothing = Sample(np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4, 4), np.uint8), [], known_nouns=frozenset())
    prompts = choose_prompts(nothing, 3, OTHERS, np.random.default_rng(0))
    assert {prompt.phrase for prompt in prompts} <= set(OTHERS)


def test_how_people_put_it() -> None:
    """Plurals, articles and synonyms appear, and end in a form of the noun they stand for."""
    texts: dict[str, set[str]] = {}
    for seed in range(3000):
        for prompt in choose_prompts(scene(), 3, [], np.random.default_rng(seed)):
            texts.setdefault(prompt.phrase, set()).add(prompt.text)
    assert {"mug", "mugs", "a mug"} <= texts["mug"]
    assert set(SYNONYMS["mug"]) & texts["mug"]
    assert "a red mug" in texts["red mug"]
    for phrase, forms in texts.items():
        noun = noun_of(phrase)
        assert noun in NOUNS
        for form in forms:
            assert any(known in form for known in (noun, plural(noun), *SYNONYMS[noun]))


def test_a_synonym_says_no_more_than_the_noun() -> None:
    """Not every cup is a paper cup, and no green apple a red one."""
    forms = {reworded(noun, 1.0, np.random.default_rng(seed)) for noun in ("cup", "apple") for seed in range(300)}
    assert "teacup" in forms and not {"paper cup", "plastic cup", "red apple fruit"} & forms


@pytest.mark.parametrize(("phrase", "article"), [("apple", "an apple"), ("bowl", "a bowl")])
def test_articles_fit(phrase: str, article: str) -> None:
    label = Label(frozenset({phrase}), attributed=True)
    sample = Sample(np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), np.uint8), [label])
    texts = {
        prompt.text
        for seed in range(400)
        for prompt in choose_prompts(sample, 2, [], np.random.default_rng(seed))
        if prompt.hits
    }
    assert article in texts
