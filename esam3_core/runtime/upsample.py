# SPDX-License-Identifier: Apache-2.0
"""Mask logits to camera pixels.

A mask is the thresholded bilinear upsampling of its logits to the whole frame. Interpolated values never exceed the
logits around them, so no pixel further than one cell from a positive cell can be set: only that crop is computed.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.masks import CroppedMask, Drawing


def upsample_mask(logits: NDArray[np.float32], level: float, size: tuple[int, int]) -> CroppedMask:
    """The mask, in a frame of `size` (H, W), of the pixels whose logit exceeds `level`.

    Args:
        logits: [h, w], covering the whole frame.
        level: mask logit; see `to_logit`.
        size: H, W of the frame in pixels.
    """
    rows = _span(logits.max(axis=1) > level, size[0])
    columns = _span(logits.max(axis=0) > level, size[1])
    if rows is None or columns is None:
        return CroppedMask.empty(size)
    (top, bottom), (y, y_end) = rows
    (left, right), (x, x_end) = columns
    crop = cv2.resize(logits[top:bottom, left:right], (x_end - x, y_end - y), interpolation=cv2.INTER_LINEAR)
    # A copy: a mask is kept for long, and shall not keep all others of its frame.
    return CroppedMask(crop > level, x, y, size, Drawing(logits.copy(), level)).tight()


def to_logit(probability: float) -> float:
    """The logit of a probability; 0 and 1 give minus and plus infinity."""
    if probability <= 0:
        return -math.inf
    return math.inf if probability >= 1 else math.log(probability / (1 - probability))


def _span(positive: NDArray[np.bool_], pixels: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Cells to upsample along one axis, and the pixels they cover; None if no cell is positive.

    A crop starts and ends where the border of a cell is a border of a pixel, else it would be sampled at other places
    than the whole frame is.
    """
    found = np.flatnonzero(positive)
    if found.size == 0:
        return None
    cells = len(positive)
    step = cells // math.gcd(cells, pixels)  # cells between borders that coincide
    start = max(0, int(found[0]) - 1) // step * step
    stop = min(cells, -(-(int(found[-1]) + 2) // step) * step)
    return (start, stop), (start * pixels // cells, stop * pixels // cells)
