# SPDX-License-Identifier: Apache-2.0
"""Looking for a track near where it was: which window of the frame, and what a look into it was worth.

A window is a square of w x w of the frame's g x g cells. Its masks have four by four parts per cell, as the frame's do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.overlaps import SUPPRESSED

SPLIT = 4  # parts of a mask along the side of a cell
MARGIN = 2  # cells around a track that a window must hold at least: it may have moved
Array = NDArray[Any]
Area = tuple[float, float, float, float]  # left, top, right, bottom, as shares 0..1 of the frame


def window_side(grid: int) -> int:
    """w: a window has half of the frame's cells on each side."""
    return (grid + 1) // 2


def window_corner(area: Area, grid: int) -> tuple[int, int] | None:
    """Row and column of the first cell of the window around an area; None if it does not fit with its margin.

    Args:
        grid: g, cells on a side of the frame.
    """
    side = window_side(grid)
    if side >= grid or max(area[2] - area[0], area[3] - area[1]) * grid + 2 * MARGIN > side:
        return None
    middle = (area[1] + area[3]) / 2, (area[0] + area[2]) / 2
    row, column = (min(max(round(at * grid - side / 2), 0), grid - side) for at in middle)
    return row, column


def whole_frame(masks: Array, corners: Array, grid: int) -> Array:
    """Masks of windows as masks of the frame, in which nothing lies elsewhere.

    Args:
        masks: [T, 4w, 4w] logits; corners: int [T, 2].

    Returns:
        [T, 4g, 4g]
    """
    side = masks.shape[1]
    whole = np.full((len(masks), SPLIT * grid, SPLIT * grid), SUPPRESSED, np.float32)
    for mask, into, (row, column) in zip(masks, whole, (corners * SPLIT).tolist(), strict=True):
        into[row : row + side, column : column + side] = mask
    return whole


def runs_out(masks: Array, corners: Array, grid: int) -> Array:
    """Which masks reach a border of their window that is none of the frame: there may be more of them. bool [T]."""
    last = grid - masks.shape[1] // SPLIT
    inside = masks > 0
    rows, columns = np.asarray(inside.any(axis=2)), np.asarray(inside.any(axis=1))
    row, column = corners[:, 0], corners[:, 1]
    return np.asarray(
        rows[:, 0] & (row > 0) | rows[:, -1] & (row < last)
        | columns[:, 0] & (column > 0) | columns[:, -1] & (column < last)
    )  # fmt: skip
