# SPDX-License-Identifier: Apache-2.0
"""The words of the tabletop world, and what the splits keep apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esam3_core.config import SPLITS
from esam3_core.scenes import vocabulary
from esam3_core.scenes.catalogue import MAKERS, make
from esam3_core.scenes.colours import named
from esam3_core.scenes.distractors import DISTRACTORS
from esam3_core.scenes.outlines import between
from esam3_core.scenes.profiles import FAMILIES
from esam3_core.scenes.textures import SURFACES
from esam3_core.scenes.truth import adjectives, phrases_of

seeds = st.integers(0, 10_000)


def test_every_noun_has_a_maker_and_synonyms() -> None:
    assert set(MAKERS) == set(vocabulary.KINDS) == set(vocabulary.SYNONYMS)


def test_a_mug_is_a_cup_and_a_wine_glass_is_a_glass_but_a_cup_is_no_mug() -> None:
    assert "cup" in vocabulary.nouns_of("mug")
    assert "glass" in vocabulary.nouns_of("wine glass")
    assert vocabulary.nouns_of("cup") == ("cup",)


def test_synonyms_name_no_other_kind() -> None:
    words = [w for noun in vocabulary.SYNONYMS.values() for w in noun]
    assert len(words) == len(set(words))
    assert not set(words) & set(vocabulary.NOUNS)


def test_look_alikes_are_what_nobody_would_call_a_thing() -> None:
    assert set(vocabulary.LOOK_ALIKES) == set(vocabulary.NOUNS)
    for noun, others in vocabulary.LOOK_ALIKES.items():
        for other in others:
            called = set(vocabulary.nouns_of(noun))
            assert other in vocabulary.NOUNS and other not in called
            assert not any(vocabulary.is_ambiguous(other, own) for own in called)


@given(seeds, st.sampled_from(sorted(vocabulary.COLOURS)))
def test_a_named_colour_is_nearest_to_its_own_name(seed: int, name: str) -> None:
    rgb = named(np.random.default_rng(seed), name)
    assert rgb.shape == (3,)
    assert (rgb >= 0).all() and (rgb <= 1).all()
    if name in ("red", "green", "blue"):
        assert int(rgb.argmax()) == ("red", "green", "blue").index(name)
    if name in ("white", "grey", "black"):
        assert np.ptp(rgb) < 0.1


@given(seeds, st.sampled_from(sorted(vocabulary.KINDS)), st.sampled_from(["train", "wide"]))
def test_training_never_shows_a_held_out_pair(seed: int, kind: str, split: str) -> None:
    thing = make(np.random.default_rng(seed), kind, split)
    assert (thing.finish.colour, kind) not in vocabulary.HELD_OUT_PAIRS


@pytest.mark.parametrize("kind", vocabulary.KINDS)
def test_the_splits_share_no_family(kind: str) -> None:
    families = {
        split: {make(np.random.default_rng(seed), kind, split).family for seed in range(60)} for split in SPLITS
    }
    assert not (families["train"] | families["wide"]) & families["held_out"]
    assert families["train"] <= families["wide"]


def test_a_wide_vessel_lies_between_two_families() -> None:
    tall, low = FAMILIES["vase"]["train"]["bud"], FAMILIES["vase"]["wide"]["globe"]
    assert between(tall, low, 0.0).aspect == tall.aspect and between(tall, low, 1.0).radius == low.radius
    heights = np.linspace(0, 1, 9)
    ends = [np.interp(heights, *np.array(family.points).T[::-1]) for family in (tall, low)]
    for share in (0.0, 0.3, 1.0):
        radii = np.interp(heights, *np.array(between(tall, low, share).points).T[::-1])
        np.testing.assert_allclose(radii, (1 - share) * ends[0] + share * ends[1], atol=0.02)


def test_the_splits_share_no_texture_and_no_profile() -> None:
    assert not set(SURFACES["train"]) & set(SURFACES["held_out"])
    for kind in FAMILIES.values():
        names = [name for families in kind.values() for name in families]
        assert len(names) == len(set(names))
    assert set(DISTRACTORS["held_out"]) - set(DISTRACTORS["train"])


@given(seeds, st.sampled_from(sorted(vocabulary.KINDS)), st.sampled_from(SPLITS))
def test_phrases_are_adjectives_before_nouns(seed: int, kind: str, split: str) -> None:
    thing = make(np.random.default_rng(seed), kind, split)
    phrases = phrases_of(thing)
    assert phrases[0] == kind
    assert len(phrases) == len(set(phrases)) == len(vocabulary.KINDS[kind]) * (1 + len(adjectives(thing)))
    for phrase in phrases:
        assert any(phrase == n or phrase.endswith(f" {n}") for n in vocabulary.KINDS[kind])


def test_an_unknown_kind_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match="choose from cup"):
        make(np.random.default_rng(0), "elephant", "train")
