# SPDX-License-Identifier: Apache-2.0
"""From a camera image to the image encoder."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esam3_core.runtime import ImageError, check_image, resize_frame


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([32, 64, 96]))
def test_any_size_becomes_square_and_keeps_its_colour(height, width, size):
    image = np.full((height, width, 3), (10, 120, 250), np.uint8)
    resized = resize_frame(image, size)
    assert resized.shape == (size, size, 3) and resized.dtype == np.uint8 and resized.flags.c_contiguous
    assert (resized == (10, 120, 250)).all()


def test_the_right_size_is_left_alone():
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    assert (resize_frame(image, 64) == image).all()


@pytest.mark.parametrize("offset", range(8))
def test_a_thin_line_survives_shrinking_wherever_it_is(offset):
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, 200 + offset] = 255
    shrunk = resize_frame(image, 64)
    # One of eight columns: an eighth of the light, however it falls on the cells.
    assert shrunk[..., 0].sum() / 64 == pytest.approx(255 / 8, rel=0.15)


def test_shrinking_is_close_to_averaging_over_area():
    image = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    area = cv2.resize(image, (384, 384), interpolation=cv2.INTER_AREA)
    skipping = cv2.resize(image, (384, 384), interpolation=cv2.INTER_LINEAR)
    error = np.abs(resize_frame(image, 384).astype(int) - area).mean()
    assert error < 0.6 * np.abs(skipping.astype(int) - area).mean()


@pytest.mark.parametrize(
    ("image", "remedy"),
    [
        ([[1, 2, 3]], "numpy array"),
        (np.zeros((4, 4), np.uint8), "GRAY2RGB"),
        (np.zeros((4, 4, 4), np.uint8), "drop alpha"),
        (np.zeros((3, 4, 5), np.uint8), "channels come last"),
        (np.zeros((1, 4, 4, 3), np.uint8), "one frame"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 0, 3), np.uint8), "at least one pixel"),
        (np.zeros((4, 4, 3), np.uint16), "0..255"),
        (np.zeros((4, 4, 3), np.float32), "0..255"),
    ],
)
def test_what_is_no_image_is_refused_with_a_remedy(image, remedy):
    with pytest.raises(ImageError, match=remedy):
        check_image(image)


def test_a_view_of_a_larger_image_is_accepted():
    view = np.zeros((20, 20, 3), np.uint8)[2:10, ::-1]
    assert check_image(view) is view
    assert resize_frame(view, 32).shape == (32, 32, 3)
