# SPDX-License-Identifier: Apache-2.0
"""Masks as data sets store them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from esam3_core.data.rle import decode_segmentation, run_lengths
from tests.data.trees import BLUE, SIZE, rle


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 70), st.integers(1, 70), st.floats(0, 1))
def test_every_code_of_pycocotools_is_read(seed: int, height: int, width: int, share: float) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    code = coco.encode(np.asfortranarray(mask))
    assert run_lengths(code["counts"]).sum() == mask.size
    np.testing.assert_array_equal(decode_segmentation(rle(mask), (height, width)), mask)
    counts = run_lengths(code["counts"]).tolist()
    np.testing.assert_array_equal(decode_segmentation({"size": [height, width], "counts": counts}, mask.shape), mask)


@pytest.mark.parametrize("cut", [1, 2, 3, 9])
def test_a_torn_code_is_no_mask(cut: int) -> None:
    """pycocotools would fill the rest with what happens to lie in memory."""
    torn = rle(BLUE.mask())
    torn["counts"] = torn["counts"][:-cut]
    with pytest.raises(ValueError, match="wrong RLE"):
        decode_segmentation(torn, SIZE)


@pytest.mark.parametrize("counts", ["", "not a code at all", "é", [5, 5], [-1, SIZE[0] * SIZE[1] + 1]])
def test_nonsense_is_no_mask(counts: object) -> None:
    with pytest.raises(ValueError, match="wrong RLE"):
        decode_segmentation({"size": list(SIZE), "counts": counts}, SIZE)


def test_a_mask_of_another_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        decode_segmentation(rle(BLUE.mask()), (SIZE[0] + 1, SIZE[1]))


def test_polygons_are_drawn() -> None:
    square = [[10, 20, 50, 20, 50, 40, 10, 40]]
    mask = decode_segmentation(square, SIZE)
    assert mask[21:39, 11:49].all() and mask.sum() == pytest.approx(800, rel=0.1)
    for wrong in ([], [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]]):
        with pytest.raises(ValueError, match="three corners"):
            decode_segmentation(wrong, SIZE)
