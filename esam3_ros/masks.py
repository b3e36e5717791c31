# SPDX-License-Identifier: Apache-2.0
"""Masks between the runtime and esam3_ros/Mask messages."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import RegionOfInterest

from esam3_core.runtime.masks import BoolArray, CroppedMask
from esam3_core.runtime.masks import unpack as unpack_bits
from esam3_ros.conversions import to_payload
from esam3_ros.msg import Mask


def pack(crop: CroppedMask) -> Mask:
    """A Mask message of a mask."""
    x, y, width, height = crop.roi
    bits = np.packbits(crop.bits, bitorder="little")
    roi = RegionOfInterest(x_offset=x, y_offset=y, width=width, height=height)
    return Mask(roi=roi, data=to_payload(bits))


def crop_of(message: Mask, height: int, width: int) -> CroppedMask:
    """The mask of a Mask message, cropped, in an image of `height` x `width` pixels.

    Raises:
        ValueError: the roi leaves the image, or the data does not fit the roi.
    """
    roi = message.roi
    return unpack_bits(message.data, (roi.x_offset, roi.y_offset, roi.width, roi.height), (height, width))


def unpack(message: Mask, height: int, width: int) -> BoolArray:
    """The mask of a Mask message as bool [height, width].

    Raises:
        ValueError: the roi leaves the image, or the data does not fit the roi.
    """
    return crop_of(message, height, width).full()
