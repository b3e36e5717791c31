# SPDX-License-Identifier: Apache-2.0
"""Overlays: everything found is visible, nothing else is touched."""

import numpy as np
import pytest

from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.overlay import draw, label_of, track_colour
from esam3_core.runtime.track import Detection, Track
from tests.colour_bundle import disc

GREY = np.full((480, 640, 3), 128, np.uint8)


def track(track_id=1, state="tracked", x=300, y=240, concept="cup", size=(480, 640)):
    crop = CroppedMask.from_full(disc(x, y, 60, size))
    box = tuple(map(float, crop.roi))
    return Track(track_id, concept, 0.923, state, box, CroppedMask.empty(size) if state == "occluded" else crop, 0, 1)


def test_the_image_is_copied_not_changed():
    image = GREY.copy()
    picture = draw(image, [track()])
    assert (image == 128).all() and picture.shape == image.shape and picture.dtype == np.uint8


def test_nothing_found_changes_nothing():
    assert (draw(GREY, []) == GREY).all()


def test_masks_are_filled_translucently_in_the_colour_of_the_id():
    centre = draw(GREY, [track(7)])[240, 300].astype(float)
    assert centre == pytest.approx(0.6 * 128 + 0.4 * np.array(track_colour(7)), abs=2)


def test_only_masks_outlines_and_labels_are_drawn():
    changed = (draw(GREY, [track()]) != GREY).any(axis=2)
    near = disc(300, 240, 64)
    near[150:182, 235:360] = True  # the label on top
    assert not (changed & ~near).any()


def test_occluded_tracks_show_as_a_dashed_box_without_fill():
    picture = draw(GREY, [track(state="occluded")])
    assert (picture[240, 300] == 128).all()
    top = (picture[180, 240:361] != 128).any(axis=1)
    bottom = (picture[301, 245:356] != 128).any(axis=1)
    assert top.any() and bottom.any() and not bottom.all()


def test_colours_are_steady_and_neighbours_differ():
    assert track_colour(5) == track_colour(5)
    assert len({track_colour(index) for index in range(1, 65)}) == 64
    for index in range(1, 64):
        assert np.abs(np.subtract(track_colour(index), track_colour(index + 1))).max() > 100


def test_labels_say_concept_id_and_score():
    assert label_of(track(3)) == "cup 3 0.92"
    assert label_of(track(3, "occluded")) == "cup 3 hidden"
    assert label_of(Detection("red mug", 0.5, (0, 0, 1, 1), CroppedMask.empty((4, 4)))) == "red mug 0.50"


@pytest.mark.parametrize("size", [(1, 1), (20, 30), (1080, 1920), (2000, 100)])
def test_any_size_of_image_can_be_drawn_on(size):
    image = np.zeros((*size, 3), np.uint8)
    found = [track(1, size=size, x=0, y=0), track(2, "occluded", size=size, x=5, y=5, concept="茶杯" * 30)]
    assert draw(image, found).shape == image.shape
