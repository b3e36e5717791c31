# SPDX-License-Identifier: Apache-2.0
"""Concepts: what is accepted, and what is encoded when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esam3_core.config import MAX_CONCEPT_LENGTH
from esam3_core.runtime import BundleError, ConceptError, normalise, normalise_all
from esam3_core.runtime.text import TextEncoder


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("cup", "cup"),
        ("  Red   MUG ", "red mug"),
        ("red\tmug\n", "red mug"),
        ("kaffeetasse mit milchkaffee", "kaffeetasse mit milchkaffee"),
        ("茶杯", "茶杯"),
        ("cafe\u0301 cup", "caf\u00e9 cup"),  # one way to write an accent
        ("salt &amp; pepper", "salt & pepper"),
        ("woman\u2019s hat", "woman's hat"),  # a telephone's apostrophe
        ("sch\u00c3\u00b6ne Tasse", "sch\u00f6ne tasse"),  # UTF-8 read as Latin-1
        ("&amp;" * 4 + "amp;amp;amp; cup", "&&&& cup"),
        ("x" * MAX_CONCEPT_LENGTH, "x" * MAX_CONCEPT_LENGTH),
    ],
)
def test_concepts_are_normalised(given, normal):
    assert normalise(given) == normal


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("x" * (MAX_CONCEPT_LENGTH + 1), "at most 64"),
        ("cup " * 2500, "9999 characters"),
        (7, "not int"),
        (None, "not NoneType"),
        (b"cup", "not bytes"),
        (["cup"], "not list"),
        ("cup\0", "control characters"),
        ("cup\x1b[31m", "control characters"),
        ("\ud800", "control characters"),
    ],
)
def test_what_is_no_concept_is_refused_with_a_reason(given, reason):
    with pytest.raises(ConceptError, match=reason):
        normalise(given)


@given(st.text())
def test_normal_concepts_stay_as_they_are(text):
    try:
        normal = normalise(text)
    except ConceptError:
        return
    assert normalise(normal) == normal


def test_each_concept_once_in_the_given_order():
    assert normalise_all(["Red mug", "cup", "red  mug"]) == ("red mug", "cup")


@pytest.mark.parametrize("given", ["cup", 3, None])
def test_a_list_is_wanted(given):
    with pytest.raises(ConceptError, match="must be a list"):
        normalise_all(given)


class CountingEngine:
    """Wraps the real text encoder and remembers what it was asked."""

    def __init__(self, engine):
        self.engine, self.inputs, self.outputs, self.batches = engine, engine.inputs, engine.outputs, []

    def run(self, feeds, keep=()):
        self.batches.append(len(feeds["tokens"]))
        return self.engine.run(feeds, keep)


@pytest.fixture
def encoder(colour_bundle):
    from esam3_core.config import RuntimeConfig
    from esam3_core.runtime.engines import load_engine

    engine = load_engine(colour_bundle / "text_encoder.onnx", RuntimeConfig(), ["tokens"], ["prompt"])
    return TextEncoder(CountingEngine(engine), colour_bundle / "tokenizer.json", context=8, cache=3)


def test_prompts_have_the_contracted_shapes(encoder):
    prompt = encoder.encode(("red", "light blue thing"))
    assert prompt.tokens.shape == (2, 8, 32) and prompt.tokens.dtype == np.float32
    assert prompt.pad.tolist() == [[False] * 3 + [True] * 5, [False] * 5 + [True] * 3]  # start, words, end


def test_a_known_concept_is_not_encoded_again(encoder):
    first = encoder.encode(("red", "blue"))
    again = encoder.encode(("blue", "green", "red"))
    assert encoder._engine.batches == [2, 1]
    assert (again.tokens[0] == first.tokens[1]).all() and (again.tokens[2] == first.tokens[0]).all()


def test_the_concept_unused_for_longest_makes_room(encoder):
    for concepts in (("red",), ("blue",), ("green",), ("red",), ("cyan",)):
        encoder.encode(concepts)
    encoder._engine.batches.clear()
    encoder.encode(("red", "green", "cyan"))
    assert encoder._engine.batches == []
    encoder.encode(("blue",))
    assert encoder._engine.batches == [1]


def test_more_concepts_than_the_cache_holds_are_all_encoded(encoder):
    assert encoder.encode(("red", "blue", "green", "cyan", "yellow")).tokens.shape[0] == 5


def test_a_concept_of_too_many_tokens_is_cut_and_logged(encoder, caplog):
    prompt = encoder.encode(("a b c d e f g h i j",))
    assert prompt.tokens.shape == (1, 8, 32) and not prompt.pad.any()
    assert "use fewer words" in caplog.text


def test_a_broken_tokenizer_names_the_remedy(encoder, tmp_path):
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{")
    with pytest.raises(BundleError, match="copy the bundle again"):
        TextEncoder(encoder._engine, broken, context=8, cache=3)
