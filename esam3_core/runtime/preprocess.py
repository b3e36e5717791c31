# SPDX-License-Identifier: Apache-2.0
"""From a camera image to what the image encoder reads. Training, export and robot all call this one function."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.antialias import resize_antialiased
from esam3_core.runtime.errors import ImageError

Image = NDArray[np.uint8]


def resize_frame(image: Image, size: int, antialias: bool = False) -> Image:
    """Squash an RGB image uint8 [H, W, 3] to [size, size, 3]; the aspect ratio is not kept.

    With `antialias` as official checkpoints expect it (`antialias.py`). Without:

    Bilinear interpolation reads two pixels per axis, so a side more than twice too long is halved first: nothing is
    skipped, thin objects do not flicker, and it takes a quarter of the time of OpenCV's area interpolation.
    """
    if antialias:
        return resize_antialiased(image, size)
    height, width = image.shape[:2]
    while height > 2 * size or width > 2 * size:
        height = (height + 1) // 2 if height > 2 * size else height
        width = (width + 1) // 2 if width > 2 * size else width
        image = np.asarray(cv2.resize(image, (width, height)), np.uint8)
    if (height, width) == (size, size):
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, (size, size)), np.uint8)


def check_image(image: Any) -> Image:
    """Return `image` if it is uint8 RGB [H, W, 3] with at least one pixel.

    Raises:
        ImageError: it is not; the message says what it is and how to convert it.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"an image must be a numpy array uint8 [H, W, 3], not {type(image).__name__}")
    if image.ndim == 2:
        raise ImageError("the image has one channel: convert it with cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)")
    if image.ndim != 3:
        raise ImageError(f"the image has shape {list(image.shape)}: give one frame as [H, W, 3]")
    if image.shape[2] == 4:
        raise ImageError("the image has four channels: drop alpha with cv2.cvtColor(image, cv2.COLOR_RGBA2RGB)")
    if image.shape[2] != 3:
        raise ImageError(f"the image has shape {list(image.shape)}: channels come last, as RGB [H, W, 3]")
    if image.shape[0] == 0 or image.shape[1] == 0:
        raise ImageError(f"the image has shape {list(image.shape)}: a frame needs at least one pixel")
    if image.dtype != np.uint8:
        raise ImageError(
            f"the image is {image.dtype}: scale it to 0..255 and convert it with image.astype(numpy.uint8)"
        )
    return image
