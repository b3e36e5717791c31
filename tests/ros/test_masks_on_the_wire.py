# SPDX-License-Identifier: Apache-2.0
"""A mask message is what its comment says, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from esam3_ros.msg import Mask
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rclpy.serialization import deserialize_message, serialize_message

from esam3_core.runtime import CroppedMask
from esam3_ros import masks

shapes = st.tuples(st.integers(1, 30), st.integers(1, 30))
full_masks = shapes.flatmap(lambda shape: arrays(np.bool_, shape))


@settings(deadline=None)
@given(full_masks)
def test_a_mask_survives_the_wire(mask):
    message = masks.pack(CroppedMask.from_full(mask))
    received = deserialize_message(serialize_message(message), Mask)
    assert np.array_equal(masks.unpack(received, *mask.shape), mask)


@settings(deadline=None)
@given(full_masks)
def test_the_formula_of_the_comment_reads_it(mask):
    message = masks.pack(CroppedMask.from_full(mask))
    roi, data = message.roi, message.data
    assert len(data) == (roi.width * roi.height + 7) // 8
    read = np.zeros_like(mask)
    for k in range(roi.width * roi.height):
        y, x = divmod(k, roi.width)
        read[roi.y_offset + y, roi.x_offset + x] = (data[k >> 3] >> (k & 7)) & 1
    assert np.array_equal(read, mask)


@pytest.mark.parametrize("mask", [np.ones((3, 5), bool), np.zeros((3, 5), bool), np.eye(1, 9, 8, dtype=bool)])
def test_full_empty_and_single_pixel_masks(mask):
    message = masks.pack(CroppedMask.from_full(mask))
    assert np.array_equal(masks.unpack(message, *mask.shape), mask)
    assert (message.roi.width * message.roi.height == 0) == (not mask.any())


def test_a_mask_for_another_image_is_refused():
    message = masks.pack(CroppedMask.from_full(np.ones((10, 10), bool)))
    with pytest.raises(ValueError, match="leaves the frame"):
        masks.unpack(message, 5, 5)
    message.data = message.data[:-1]
    with pytest.raises(ValueError, match="cannot be a mask"):
        masks.unpack(message, 10, 10)
