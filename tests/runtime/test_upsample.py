# SPDX-License-Identifier: Apache-2.0
"""Upsampling the crop of a mask equals upsampling the whole frame."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esam3_core.runtime.upsample import to_logit, upsample_mask

CAMERAS = [(480, 640), (720, 1280), (1080, 1920), (480, 848), (240, 424), (96, 96), (97, 131), (50, 30), (1, 1)]


@st.composite
def blobs(draw, cells):
    """Logits with a few soft blobs, anywhere: at borders, in corners, one cell small."""
    logits = np.full((cells, cells), draw(st.floats(-9, -0.1)), np.float32)
    for _ in range(draw(st.integers(0, 3))):
        side = draw(st.integers(1, 6))
        y, x = draw(st.integers(0, cells - side)), draw(st.integers(0, cells - side))
        blob = hnp.arrays(np.float32, (side, side), elements=st.floats(-4, 9, width=32))
        logits[y : y + side, x : x + side] = draw(blob)
    return logits


@settings(max_examples=60, deadline=None)
@given(logits=blobs(24) | blobs(96), size=st.sampled_from(CAMERAS), level=st.sampled_from([0.0, -1.0, 1.5]))
def test_crop_equals_whole_frame(logits, size, level):
    whole = cv2.resize(logits, size[::-1], interpolation=cv2.INTER_LINEAR)
    crop = upsample_mask(logits, level, size)
    differs = crop.full() != (whole > level)
    # The weights of a crop are the same numbers, added up in another order.
    assert np.abs(whole[differs] - level).max(initial=0) < 1e-4


@settings(max_examples=40, deadline=None)
@given(logits=blobs(24), size=st.tuples(st.integers(1, 200), st.integers(1, 200)), level=st.sampled_from([0.0, 0.7]))
def test_crop_equals_whole_frame_at_any_size(logits, size, level):
    whole = cv2.resize(logits, size[::-1], interpolation=cv2.INTER_LINEAR)
    differs = upsample_mask(logits, level, size).full() != (whole > level)
    assert np.abs(whole[differs] - level).max(initial=0) < 1e-4


def test_nothing_positive_is_an_empty_mask():
    assert upsample_mask(np.full((24, 24), -1, np.float32), 0.0, (480, 640)).area == 0


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_to_logit_undoes_the_sigmoid(probability):
    assert 1 / (1 + math.exp(-to_logit(probability))) == pytest.approx(probability)


def test_certain_probabilities_are_infinite_logits():
    assert to_logit(0) == -math.inf and to_logit(1) == math.inf
