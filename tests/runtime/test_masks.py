# SPDX-License-Identifier: Apache-2.0
"""Masks: every operation on a crop equals the same operation on the whole frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from esam3_core.runtime.masks import CroppedMask, decode_rle, encode_rle, intersection, iou_matrix, pack, unpack

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@st.composite
def masks(draw, size=None):
    """A mask with something in one rectangle of its frame, as ragged as can be; sometimes empty."""
    height, width = size or draw(SIZES)
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    shape = draw(st.integers(0, height - top)), draw(st.integers(0, width - left))
    mask = np.zeros((height, width), bool)
    mask[top : top + shape[0], left : left + shape[1]] = draw(hnp.arrays(bool, shape))
    return mask


@st.composite
def pairs(draw):
    size = draw(SIZES)
    return draw(masks(size)), draw(masks(size))


@given(masks())
def test_crop_is_tight_and_gives_the_mask_back(mask):
    crop = CroppedMask.from_full(mask)
    assert (crop.full() == mask).all()
    assert crop.area == mask.sum()
    if mask.any():
        assert crop.bits[0].any() and crop.bits[-1].any() and crop.bits[:, 0].any() and crop.bits[:, -1].any()
    else:
        assert crop.roi[2:] == (0, 0)


@given(masks(), st.integers(-50, 50), st.integers(-50, 50))
def test_shifted_mask_loses_only_what_leaves_the_frame(mask, dx, dy):
    height, width = mask.shape
    expected = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        if 0 <= y + dy < height and 0 <= x + dx < width:
            expected[y + dy, x + dx] = True
    shifted = CroppedMask.from_full(mask).shifted(dx, dy)
    assert (shifted.full() == expected).all()
    assert shifted.roi == CroppedMask.from_full(expected).roi


@given(pairs())
def test_iou_of_crops_is_iou_of_frames(pair):
    a, b = pair
    crops = CroppedMask.from_full(a), CroppedMask.from_full(b)
    union = (a | b).sum()
    assert intersection(*crops) == (a & b).sum()
    assert iou_matrix(crops[:1], crops[1:])[0, 0] == ((a & b).sum() / union if union else 0)


def test_iou_matrix_of_nothing_has_no_rows():
    assert iou_matrix([], [CroppedMask.empty((4, 4))]).shape == (0, 1)


@given(masks())
def test_packed_bits_come_back(mask):
    crop = CroppedMask.from_full(mask)
    assert (unpack(pack(crop).tobytes(), crop.roi, mask.shape).full() == mask).all()


@given(masks())
def test_packed_bits_follow_the_formula_of_the_message(mask):
    crop = CroppedMask.from_full(mask)
    x0, y0, width, _ = crop.roi
    data = pack(crop)
    for y, x in np.ndindex(crop.bits.shape):
        k = y * width + x
        assert bool((data[k >> 3] >> (k & 7)) & 1) == mask[y0 + y, x0 + x]


@pytest.mark.parametrize(
    ("data", "roi", "reason"),
    [
        (bytes(2), (0, 0, 3, 3), None),
        (bytes(1), (0, 0, 3, 3), "cannot be a mask of 3 x 3"),
        (bytes(3), (0, 0, 3, 3), "cannot be a mask of 3 x 3"),
        (bytes(2), (8, 0, 3, 3), "leaves the frame"),
        (bytes(2), (-1, 0, 3, 3), "leaves the frame"),
    ],
)
def test_bits_that_do_not_fit_are_refused(data, roi, reason):
    if reason is None:
        assert not unpack(data, roi, (10, 10)).full().any()
    else:
        with pytest.raises(ValueError, match=reason):
            unpack(data, roi, (10, 10))


def test_no_bits_are_an_empty_mask():
    assert unpack(b"", (2, 2, 5, 5), (10, 10)).area == 0


@given(masks())
def test_rle_comes_back_and_is_what_pycocotools_writes(mask):
    from pycocotools import mask as coco

    rle = encode_rle(CroppedMask.from_full(mask))
    assert (decode_rle(rle) == mask).all()
    expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle == {"size": list(mask.shape), "counts": expected["counts"].decode()}
