# SPDX-License-Identifier: Apache-2.0
"""Masks are refined in crops of the camera's picture: what is shown changes, what is remembered does not.

The refiner of these tests is a real graph in real ONNX Runtime that draws whatever is not grey, wherever the given mask
is not far away; another one gives back what it was given.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

import esam3_core
from esam3_core.config import RuntimeConfig, TrackerConfig
from esam3_core.runtime.engines import OnnxEngine
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.overlaps import settled
from esam3_core.runtime.refiner import MOST, SIDE, SURE, Refiner, view, window
from esam3_core.runtime.stages import Stages
from esam3_core.runtime.upsample import upsample_mask
from tests.colour_bundle import BACKGROUND, _Graph, _port, disc, draw_blobs, write_colour_bundle
from tests.colour_memory import MEMORY as COLOUR_MEMORY
from tests.colour_memory import _exemplar_encoder, _memorizer, _propagator

RED = ("red", 200.0, 150.0, 57.0)
PORTS = [_port("crops", ["T", SIDE, SIDE, 3], TensorProto.UINT8), _port("masks", ["T", SIDE, SIDE])]
REFINED = [_port("refined", ["T", SIDE, SIDE])]


def colour_refiner() -> onnx.ModelProto:
    """Above 0 where a pixel is not grey and the mask is not surely elsewhere."""
    g = _Graph()
    rgb = g("Cast", "crops", to=TensorProto.FLOAT)
    grey = g("Abs", g("Sub", rgb, g.constant(float(BACKGROUND[0]))))
    most = g("ReduceMax", grey, g.constant([3], np.int64), keepdims=0)
    coloured = g("Sub", most, g.constant(49.0))  # half of what red is from grey
    near = g("Greater", "masks", g.constant(-MOST + 0.1))
    g("Where", near, coloured, g.constant(-1.0), result="refined")
    return g.model(PORTS, REFINED)


def same_refiner() -> onnx.ModelProto:
    g = _Graph()
    g("Identity", "masks", result="refined")
    return g.model(PORTS, REFINED)


def engine_of(model: onnx.ModelProto, folder: Path) -> Refiner:
    onnx.save(model, folder / "refiner.onnx")
    return Refiner(OnnxEngine(folder / "refiner.onnx", RuntimeConfig(device="cpu")), Stages())


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Refiner:
    return engine_of(same_refiner(), tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> Refiner:
    return engine_of(colour_refiner(), tmp_path_factory.mktemp("coloured"))


@pytest.fixture(scope="module")
def sharp(tmp_path_factory: pytest.TempPathFactory) -> esam3_core.Student:
    """The colour student with memory and a refiner."""
    graphs = {"propagator": _propagator, "memorizer": _memorizer, "exemplar_encoder": _exemplar_encoder}
    folder = tmp_path_factory.mktemp("bundles") / "sharp"
    graphs["refiner"] = colour_refiner
    # What detector and memory draw reaches too far, so that there is something to refine.
    reaching = {"mask_threshold": 0.01}
    return esam3_core.load(write_colour_bundle(folder, "sharp", COLOUR_MEMORY, graphs, detector=reaching))


def iou(mask: CroppedMask, truth: np.ndarray) -> float:
    return float(iou_matrix([mask], [CroppedMask.from_full(truth)])[0, 0])


ELLIPSES = st.tuples(*(st.floats(-0.2, 1.2), st.floats(-0.2, 1.2), st.floats(0.05, 0.6), st.floats(0.05, 0.6)))
SIZES = st.sampled_from([(40, 60), (120, 160), (480, 640), (333, 517)])


def ellipse(place: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    x, y, across, down = place
    rows, columns = (np.arange(side) / side for side in size)
    return np.asarray(((columns - x) / across) ** 2 + ((rows[:, None] - y) / down) ** 2 <= 1)


class TestCrops:
    @given(place=ELLIPSES, size=SIZES)
    def test_a_window_holds_its_mask_and_stays_in_the_frame(self, place, size):
        mask = CroppedMask.from_full(ellipse(place, size))
        if not mask.area:
            return
        x, y, width, height = window(mask)
        assert 0 <= x <= mask.x and 0 <= y <= mask.y
        assert mask.x + mask.roi[2] <= x + width <= size[1] and mask.y + mask.roi[3] <= y + height <= size[0]

    @given(place=ELLIPSES, size=SIZES)
    def test_what_is_given_back_unchanged_stays_where_it_was(self, same, place, size):
        mask = CroppedMask.from_full(ellipse(place, size))
        (after,) = same.refine(np.zeros((*size, 3), np.uint8), [mask])
        # Half a cell of a crop may be lost along the border.
        cells = min(mask.roi[2:]) if mask.area else 0
        assert after.area == 0 if not cells else cells < 8 or float(iou_matrix([after], [mask])[0, 0]) > 0.85

    @given(place=ELLIPSES, size=SIZES)
    def test_logits_lie_in_the_crop_where_they_lie_in_the_frame(self, same, place, size):
        shares = (np.arange(48) + 0.5) / 48
        x, y, across, down = place
        far = np.hypot((shares - x) / across, (shares[:, None] - y) / down)
        drawn = upsample_mask(((1 - far) * 4).astype(np.float32), 0.3, size)
        (after,) = same.refine(np.zeros((*size, 3), np.uint8), [drawn])
        assert drawn.area < 60 or float(iou_matrix([after], [drawn])[0, 0]) > 0.9

    def test_a_mask_of_which_nothing_else_is_known_is_sure_of_its_pixels(self):
        mask = CroppedMask.from_full(disc(50, 40, 20, (80, 100)))
        _, logits = view(np.zeros((80, 100, 3), np.uint8), mask, window(mask))
        assert logits.max() == SURE and logits.min() == -SURE and logits.shape == (SIDE, SIDE)


class TestRefining:
    @pytest.mark.parametrize("size", [(120, 160), (480, 640), (720, 1280)])
    @pytest.mark.parametrize("x", [0.0, 0.4, 0.97])
    def test_a_border_moves_to_where_the_picture_has_it(self, coloured, size, x):
        place = (x * size[1], 0.5 * size[0], 0.14 * size[0])
        image, truth = draw_blobs([("blue", *place)], size), disc(*place, size)
        rough = CroppedMask.from_full(disc(place[0] + 0.03 * size[0], place[1], 0.9 * place[2], size))
        (after,) = coloured.refine(image, [rough])
        assert iou(rough, truth) < 0.88 and iou(after, truth) > 0.95

    def test_each_of_many_masks_gets_its_own(self, coloured):
        places = [(40 + 60 * (i % 10), 60 + 120 * (i // 10), 20) for i in range(19)]
        image = draw_blobs([("green", *place) for place in places])
        rough = [CroppedMask.from_full(disc(x + 4, y - 3, radius)) for x, y, radius in places]
        refined = coloured.refine(image, rough)
        assert all(iou(one, disc(*place)) > 0.95 for one, place in zip(refined, places, strict=True))

    def test_where_nothing_would_be_left_the_mask_stays(self, coloured):
        rough = CroppedMask.from_full(disc(100, 100, 30))
        assert coloured.refine(draw_blobs([]), [rough]) == [rough]

    def test_an_empty_mask_costs_no_run(self, coloured):
        empty = CroppedMask.empty((480, 640))
        assert coloured.refine(draw_blobs([RED]), [empty]) == [empty] and coloured.refine(draw_blobs([]), []) == []


class TestStudent:
    def test_detections_are_refined_unless_that_is_switched_off(self, sharp):
        image, truth = draw_blobs([RED]), disc(*RED[1:])
        sharp.detector = dataclasses.replace(sharp.bundle.detector, refine=False)
        (rough,) = sharp.segment(image, ["red"])
        sharp.detector = sharp.bundle.detector
        (refined,) = sharp.segment(image, ["red"])
        assert iou(rough.crop, truth) < iou(refined.crop, truth) > 0.96
        assert (refined.score, refined.box) == (rough.score, rough.box) and "refiner" in sharp.timings

    def test_tracks_show_refined_masks_with_their_boxes_and_remember_rough_ones(self, sharp):
        image, truth = draw_blobs([RED]), disc(*RED[1:])
        tracker = sharp.track(["red"], TrackerConfig(tracker="memory"))
        track = [tracker.step(image, 0.1 * index) for index in range(4)][-1][0]
        assert iou(track.crop, truth) > 0.96 and track.box == tuple(map(float, track.crop.roi))
        (remembered,) = tracker._roster.confirmed
        assert 0.5 < iou(remembered.crop, truth) < iou(track.crop, truth)

    def test_an_object_that_is_shown_by_a_box_is_refined_and_one_by_a_mask_is_the_mask(self, sharp):
        image, truth = draw_blobs([RED]), disc(*RED[1:])
        tracker = sharp.track([], TrackerConfig(tracker="memory"))
        boxed = tracker.add(image, 0.0, box=(143, 93, 114, 114))
        given_mask = disc(200, 150, 50)
        masked = tracker.add(image, 0.0, mask=given_mask)
        assert iou(boxed.crop, truth) > 0.96 and (masked.mask == given_mask).all()

    @pytest.mark.parametrize("names", [("", ""), ("mine", "yours")])
    def test_two_that_were_shown_share_no_pixel_whatever_their_names(self, sharp, names):
        places = (200, 150, 50), (312, 150, 50)
        image = draw_blobs([("red", *place) for place in places])
        tracker = sharp.track([], TrackerConfig(tracker="memory"))
        for place, name in zip(places, names, strict=True):
            tracker.add(image, 0.0, mask=disc(*place), concept=name)
        first, second = tracker.step(image, 0.1)
        assert first.mask.any() and second.mask.any() and not (first.mask & second.mask).any()

    def test_without_a_refiner_masks_are_as_drawn(self, student):
        crops = [CroppedMask.from_full(disc(100, 100, 30))]
        assert student.refine(draw_blobs([RED]), crops) == crops


class TestSharedPixels:
    SIZE = (60, 80)

    def apart(self, before, after, groups):
        masks = [[CroppedMask.from_full(disc(*place, self.SIZE)) for place in places] for places in (before, after)]
        return masks[0], settled(*masks, groups)

    def test_a_pixel_stays_with_the_mask_that_had_it(self):
        before, after = self.apart([(20, 30, 10), (44, 30, 12)], [(22, 30, 14), (44, 30, 14)], ["cup", "cup"])
        first, second = (one.full() for one in after)
        assert not (first & second).any()
        assert not (first & before[1].full()).any() and not (second & before[0].full()).any()
        assert (first | second).sum() == (disc(22, 30, 14, self.SIZE) | disc(44, 30, 14, self.SIZE)).sum()

    def test_masks_of_other_concepts_may_share(self):
        _, after = self.apart([(20, 30, 10), (44, 30, 12)], [(22, 30, 14), (44, 30, 14)], ["cup", "red cup"])
        assert (after[0].full() & after[1].full()).any()

    def test_what_both_had_before_both_keep(self):
        places = [(20, 30, 12), (30, 30, 12)]
        before, after = self.apart(places, places, ["cup", "cup"])
        assert all((now.full() == was.full()).all() for now, was in zip(after, before, strict=True))

    def test_a_mask_of_which_nothing_is_left_is_shown_as_before(self):
        before, after = self.apart([(20, 30, 10), (60, 30, 5)], [(20, 30, 10), (20, 30, 6)], ["cup", "cup"])
        assert (after[1].full() == before[1].full()).all()
