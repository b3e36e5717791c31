# SPDX-License-Identifier: Apache-2.0
"""The phrase corpus: what it holds, what it labels, what it keeps out."""

from __future__ import annotations

import random

import pytest

from esam3_core.distill.text.lexicon import CLAIMED, HELD_OUT, HELD_OUT_ATTRIBUTES
from esam3_core.distill.text.phrases import (
    Phrase,
    attribute_words,
    claimed_names,
    compose,
    corpus,
    has_word,
    is_held_out,
    negative_nouns,
    plural,
    read_nouns,
)
from esam3_core.scenes import vocabulary


@pytest.fixture(scope="module")
def phrases() -> list[Phrase]:
    return corpus(seed=3)


def word(text: str) -> object:
    return next(w for words in attribute_words().values() for w in words if w.text == text)


def test_same_seed_same_corpus(phrases: list[Phrase]) -> None:
    assert corpus(seed=3) == phrases


def test_no_phrase_twice(phrases: list[Phrase]) -> None:
    assert len({p.text for p in phrases}) == len(phrases)


def test_it_is_broad(phrases: list[Phrase]) -> None:
    assert len(phrases) > 50_000
    assert len(read_nouns()) > 5_000


@pytest.mark.parametrize("noun", vocabulary.NOUNS)
def test_every_noun_of_the_scenes_is_claimed(noun: str) -> None:
    assert noun in CLAIMED


def test_every_attribute_of_the_scenes_has_a_word() -> None:
    known = {w.text for words in attribute_words().values() for w in words}
    assert {*vocabulary.COLOURS, *vocabulary.PATTERNS, *vocabulary.MATERIALS} <= known


def test_what_the_scenes_say_is_not_held_out() -> None:
    said = {*vocabulary.NOUNS, *vocabulary.COLOURS, *vocabulary.PATTERNS, *vocabulary.MATERIALS}
    assert not [text for text in said if is_held_out(text)]


def test_a_synonym_with_an_attribute_word_has_a_plain_meaning() -> None:
    phrase = compose("coffee mug", (word("crimson"),), "a", "on the table")  # type: ignore[arg-type]
    assert phrase.text == "a crimson coffee mug on the table"
    assert phrase.canonical == "red mug"
    assert phrase.claims == ("cup", "mug")
    assert phrase.attributes == ("colour:red",)


def test_a_wine_glass_is_a_glass_and_an_apple_pie_no_apple() -> None:
    assert compose("wine glass").claims == ("glass", "wine glass")
    assert compose("apple pie").claims == ()


def test_what_might_be_claimed_is_neither_yes_nor_no() -> None:
    assert compose("teapot").claims is None


@pytest.mark.parametrize(
    ("one", "many"),
    [("cup", "cups"), ("box", "boxes"), ("knife", "knives"), ("wine glass", "wine glasses"),
     ("dictionary", "dictionaries"), ("cup of tea", "cups of tea"), ("toy", "toys")],
)  # fmt: skip
def test_plural(one: str, many: str) -> None:
    assert plural(one) == many


@pytest.mark.parametrize("text", ["tumbler", "red tumblers", "a scarlet cup", "the coffee mug on the table"])
def test_held_out_words_are_found_inside_phrases(text: str) -> None:
    assert is_held_out(text)


def test_a_word_inside_another_is_no_hit() -> None:
    assert not has_word("tinted window", "tin")


def test_held_out_words_mean_claimed_nouns() -> None:
    assert set(HELD_OUT) & set(CLAIMED) == set()
    assert {noun for nouns in HELD_OUT.values() for noun in nouns} <= set(CLAIMED)
    plain = {w.plain for words in attribute_words().values() for w in words}
    assert set(HELD_OUT_ATTRIBUTES.values()) <= plain


def test_negative_nouns_are_many_and_name_nothing_claimed() -> None:
    negatives = negative_nouns()
    assert len(negatives) > 3_000
    assert not set(negatives) & set(claimed_names())
    assert not [n for n in negatives if set(n.split()) & set(CLAIMED)]
    for wanted in ("laptop", "teddy bear", "kettle", "shoe"):
        assert wanted in negatives


def test_random_negatives_are_plain_lower_case_words() -> None:
    for noun in random.Random(0).sample(negative_nouns(), 500):
        assert noun == noun.lower().strip() and noun
