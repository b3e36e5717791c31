# SPDX-License-Identifier: Apache-2.0
"""Augmentation keeps picture, masks, boxes and labels in agreement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esam3_core.data.augment import View, disturb, shrink, unit_box, view
from esam3_core.data.paste import CutOut, cut_outs, paste
from esam3_core.data.sample import Label, Sample, truth
from tests.colour_bundle import COLOURS
from tests.drawn_data import SIZE, Thing, draw_things, scatter

INPUT = 128  # S


def sample_of(things: list[Thing], ignored: np.ndarray | None = None) -> Sample:
    masks = np.stack([t.mask() for t in things]) if things else np.zeros((0, *SIZE), np.uint8)
    labels = [Label(frozenset(t.phrases), attributed=True) for t in things]
    return Sample(draw_things(things), masks, labels, ignored, key="drawn")


def corners(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cxcywh -> top left and bottom right."""
    return box[:2] - box[2:] / 2, box[:2] + box[2:] / 2


@settings(max_examples=60, deadline=None)
@given(scene=st.integers(0, 50), seed=st.integers(0, 10_000))
def test_boxes_and_masks_agree_after_any_crop(scene: int, seed: int) -> None:
    seen = view(sample_of(scatter(scene)), INPUT, np.random.default_rng(seed))
    assert seen.image.shape == (INPUT, INPUT, 3)
    assert len(seen.masks) == len(seen.boxes) == len(seen.sample.labels)
    assert len(seen.masks) + len(seen.sample.hidden) <= 3
    cell = 4 / INPUT
    for mask, box in zip(seen.masks, seen.boxes, strict=True):
        assert mask.min() >= 0 and mask.max() <= 1 + 1e-6
        low, high = corners(box)
        outer_low, outer_high = corners(np.array(unit_box((mask > 0).astype(np.uint8))))
        assert (low >= -1e-6).all() and (high <= 1 + 1e-6).all()
        for gap in (low - outer_low, outer_high - high):  # cells that the mask touches reach up to one beyond its box
            assert (gap >= -1e-6).all() and (gap <= cell + 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(scene=st.integers(0, 50), seed=st.integers(0, 10_000))
def test_masks_cover_what_they_covered_before(scene: int, seed: int) -> None:
    """A mask flipped or cropped apart from its picture would lie on another colour."""
    things = scatter(scene)
    seen = view(sample_of(things), INPUT, np.random.default_rng(seed))
    for mask, label in zip(seen.masks, seen.sample.labels, strict=True):
        colour = next(name for name in COLOURS if any(p.startswith(name) for p in label.phrases))
        inside = np.kron(mask > 0.99, np.ones((4, 4))) > 0
        if inside.sum() < 64:
            continue
        mean = seen.image[inside].mean(0)
        # Light and white balance are disturbed: the colour must only be nearer to its own than grey is.
        own = np.array(COLOURS[colour], float)
        assert (mean - mean.mean()) @ (own - own.mean()) > 0


@settings(max_examples=40, deadline=None)
@given(scene=st.integers(0, 50), seed=st.integers(0, 10_000))
def test_no_instance_is_denied_because_a_crop_cut_it(scene: int, seed: int) -> None:
    """What was there before the crop is found, unknown, or wholly outside."""
    things = scatter(scene)
    seen = view(sample_of(things), INPUT, np.random.default_rng(seed))
    for thing in things:
        answer = truth(seen.sample, thing.phrases[1])
        if answer == []:
            colour = np.array(COLOURS[thing.colour], float)
            near = np.abs(seen.image.astype(float) - colour).max(-1) < 10
            assert near.mean() < 0.01


@pytest.mark.parametrize(
    ("said", "flipped"), [("red ball", True), ("ball on the left", False), ("rightmost ball", False)]
)
@pytest.mark.parametrize("where", ["labels", "absent"])
def test_what_is_said_to_be_left_stays_left(said: str, flipped: bool, where: str) -> None:
    """A red ball on the left of a blue one, in forty views."""
    sample = sample_of([Thing("ball", "red", 40, 60, 20), Thing("ball", "blue", 120, 60, 20)])
    if where == "labels":
        sample.labels[0] = Label(frozenset({said}))
    else:
        sample.absent = (said,)
    views = [view(sample, INPUT, np.random.default_rng(seed)) for seed in range(40)]
    both = [seen.boxes[:, 0] for seen in views if len(seen.boxes) == 2]
    assert len(both) > 10
    assert any(red > blue for red, blue in both) == flipped


def test_without_chance_the_whole_picture_is_seen() -> None:
    things = scatter(3)
    seen = view(sample_of(things), INPUT, None)
    assert [label.phrases for label in seen.sample.labels] == [frozenset(t.phrases) for t in things]
    for thing, box in zip(things, seen.boxes, strict=True):
        assert box[:2] == pytest.approx([(thing.x + 0.5) / SIZE[1], (thing.y + 0.5) / SIZE[0]], abs=1e-3)
        assert box[2] == pytest.approx((2 * thing.radius + 1) / SIZE[1])


def test_the_same_chance_gives_the_same_view() -> None:
    one, other = (view(sample_of(scatter(1)), INPUT, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.masks, other.masks)


def test_too_small_to_find_is_hidden_and_ignored() -> None:
    seen = view(sample_of([Thing("ball", "red", 40, 60, 2), Thing("box", "blue", 120, 60, 18)]), INPUT, None)
    assert [label.phrases for label in seen.sample.labels] == [{"box", "blue box"}]
    assert truth(seen.sample, "ball") is None
    assert seen.ignored.max() > 0.3


def test_ignored_regions_move_with_the_picture() -> None:
    thing = Thing("box", "red", 40, 60, 18)
    whole = sample_of([thing], ignored=thing.mask())
    for seed in range(20):
        seen: View = view(whole, INPUT, np.random.default_rng(seed))
        if len(seen.masks):
            np.testing.assert_allclose(seen.ignored, seen.masks[0], atol=1e-6)


@given(st.integers(0, 10_000))
def test_disturbing_keeps_shape_and_type(seed: int) -> None:
    image = draw_things(scatter(0))
    out = disturb(image, np.random.default_rng(seed))
    assert out.shape == image.shape and out.dtype == np.uint8


def test_shrinking_keeps_the_area() -> None:
    mask = Thing("ball", "red", 60, 60, 30).mask((128, 128))
    assert shrink(mask, 32).mean() == pytest.approx(mask.mean(), rel=1e-3)


def test_cut_outs_are_whole_and_large_and_named() -> None:
    whole, cut, tiny = (
        Thing("ball", "red", 60, 60, 25),
        Thing("ball", "blue", 150, 60, 25),
        Thing("box", "cyan", 20, 20, 5),
    )
    sample = sample_of([whole, cut, tiny])
    found = cut_outs(sample)
    assert [c.label.phrases for c in found] == [{"ball", "red ball"}]
    assert found[0].image.shape[:2] == found[0].mask.shape == (51, 51)
    sample.labels[0] = Label(frozenset({"laptop"}))
    assert cut_outs(sample) == []


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_what_is_pasted_hides_what_lies_below(seed: int) -> None:
    sample = sample_of(scatter(2), ignored=np.ones(SIZE, np.uint8))
    cut = cut_outs(sample_of([Thing("ball", "magenta", 80, 60, 40)]))
    before = sample.masks.copy(), sample.image.copy()
    pasted = paste(sample, cut, np.random.default_rng(seed))
    np.testing.assert_array_equal(sample.masks, before[0])
    np.testing.assert_array_equal(sample.image, before[1])
    assert pasted.masks.sum(0).max() <= 1
    assert len(pasted.masks) == len(pasted.labels)
    for mask, label in zip(pasted.masks[3:], pasted.labels[3:], strict=True):
        assert label is cut[0].label
        assert not (pasted.ignored[mask > 0]).any()
        core = mask > 0
        assert np.argmin(pasted.image[core].mean(0)) == 1  # magenta has least green


def test_a_cut_out_that_does_not_fit_is_left_out() -> None:
    sample = sample_of(scatter(2))
    sliver = CutOut(np.zeros((4, 400, 3), np.uint8), np.ones((4, 400), np.uint8), sample.labels[0])
    assert len(paste(sample, [sliver], np.random.default_rng(0)).masks) == 3
