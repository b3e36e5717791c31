# SPDX-License-Identifier: Apache-2.0
"""`truth` has three answers: these instances, none, or nobody knows."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.data.sample import Label, Sample, noun_of, truth


def sample(*labels: Label, known: set[str] | None = None, hidden: tuple[Label, ...] = ()) -> Sample:
    masks = np.ones((len(labels), 4, 4), np.uint8)
    known_nouns = None if known is None else frozenset(known)
    return Sample(np.zeros((4, 4, 3), np.uint8), masks, list(labels), known_nouns=known_nouns, hidden=list(hidden))


def scene_label(*phrases: str) -> Label:
    """A rendered object: every true phrase is listed."""
    return Label(frozenset(phrases), attributed=True)


def real_label(*phrases: str, maybe: tuple[str, ...] = ()) -> Label:
    """An annotated object: only its class is known."""
    return Label(frozenset(phrases), frozenset(maybe))


MUG = scene_label("mug", "cup", "red mug", "red cup")
BOWL = scene_label("bowl", "blue bowl")


@pytest.mark.parametrize(
    ("phrase", "noun"),
    [("red mug", "mug"), ("tall wine glass", "wine glass"), ("glass", "glass"), ("mug", "mug"), ("laptop", "laptop"),
     ("cupboard", "cupboard"), ("red cupboard", "red cupboard")],
)  # fmt: skip
def test_the_noun_ends_the_phrase_and_is_a_whole_word(phrase: str, noun: str) -> None:
    assert noun_of(phrase) == noun


def test_a_scene_knows_every_answer() -> None:
    scene = sample(MUG, BOWL)
    assert truth(scene, "mug") == [0]
    assert truth(scene, "red cup") == [0]
    assert truth(scene, "blue cup") == []
    assert truth(scene, "fork") == []


def test_a_hypernym_is_true_of_all_its_kinds() -> None:
    assert truth(sample(MUG, scene_label("cup"), BOWL), "cup") == [0, 1]
    assert truth(sample(MUG, scene_label("cup"), BOWL), "mug") == [0]


def test_a_coco_cup_may_be_a_mug() -> None:
    picture = sample(real_label("cup", maybe=("mug", "glass")), known={"cup", "bowl", "bottle"})
    assert truth(picture, "cup") == [0]
    assert truth(picture, "mug") is None
    assert truth(picture, "glass") is None
    assert truth(picture, "bowl") == []


def test_nobody_knows_nouns_that_are_not_annotated() -> None:
    picture = sample(real_label("cup"), known={"cup"})
    assert truth(picture, "plate") is None
    assert truth(picture, "red plate") is None


def test_nobody_knows_the_colour_of_an_annotated_thing() -> None:
    picture = sample(real_label("cup"), known={"cup", "bowl"})
    assert truth(picture, "red cup") is None
    assert truth(picture, "red bowl") == []


def test_a_beer_bottle_is_a_bottle_or_nobody_knows() -> None:
    picture = sample(real_label("beer bottle"), real_label("bottle"), known={"beer bottle", "bottle", "cup"})
    assert truth(picture, "beer bottle") is None  # the other may be one
    assert truth(picture, "bottle") is None
    assert truth(sample(real_label("sports ball", "ball"), known={"ball"}), "ball") == [0]
    assert truth(picture, "cup") == []


def test_a_pasted_scene_object_beside_an_annotated_one_leaves_attributes_unknown() -> None:
    both = sample(real_label("cup"), scene_label("cup", "red cup"), known={"cup"})
    assert truth(both, "cup") == [0, 1]
    assert truth(both, "red cup") is None


def test_a_hidden_object_can_neither_be_found_nor_denied() -> None:
    scene = sample(BOWL, hidden=(MUG,))
    assert truth(scene, "mug") is None
    assert truth(scene, "red cup") is None
    assert truth(scene, "blue mug") == []
    assert truth(scene, "bowl") == [0]


def test_a_hidden_object_does_not_hide_those_that_show() -> None:
    assert truth(sample(MUG, hidden=(MUG,)), "mug") == [0]


def test_a_hidden_object_that_may_be_a_mug_keeps_mugs_unknown() -> None:
    assert truth(sample(hidden=(real_label("cup", maybe=("mug",)),)), "mug") is None


def test_a_hidden_annotated_cup_may_be_red() -> None:
    assert truth(sample(known={"cup"}, hidden=(real_label("cup"),)), "red cup") is None
