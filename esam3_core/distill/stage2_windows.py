# SPDX-License-Identifier: Apache-2.0
"""Which tracks of a batch are looked for in a window instead of the whole frame, and where (`runtime.near`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.near import Area, window_corner, window_side

CHANCE = 0.5  # that a track which a window can hold is looked for in one
ASTRAY = 0.7  # cells, deviation of a window's middle from where the object was
CELL = 16  # pixels


@dataclass(frozen=True)
class WindowPlan:
    """Who is looked for where."""

    near: NDArray[np.bool_]  # [F, T], in a window
    corner: NDArray[np.int64]  # [F, T, 2], row and column of its first cell
    missed: NDArray[np.bool_]  # [F, T], in a window that the object is not in: there it is not to be seen


def plan_windows(masks: NDArray[np.bool_], given: NDArray[np.bool_], rng: np.random.Generator) -> WindowPlan:
    """Windows around where objects were one frame before.

    A window that holds only a part of the object is left out: the runtime then looks into the whole frame.

    Args:
        masks: [F, T, S, S] of the objects; given: bool [F, T], where a mask comes from outside.
    """
    frames, tracks, size = masks.shape[:3]
    side = window_side(size // CELL)
    rows, columns = np.asarray(masks.any(3)), np.asarray(masks.any(2))  # [F, T, S]
    near, missed = np.zeros((2, frames, tracks), np.bool_)
    corner = np.zeros((frames, tracks, 2), np.int64)
    for frame, track in np.argwhere(~given[1:] & (rng.random((frames - 1, tracks)) < CHANCE)):
        before = _area(rows[frame, track], columns[frame, track], rng)
        at = window_corner(before, size // CELL) if before else None
        if at is None:
            continue
        now = frame + 1, track
        held = min(_share(rows[now], at[0], side), _share(columns[now], at[1], side))
        if held in (0, 1):
            near[now], corner[now], missed[now] = True, at, held == 0
    return WindowPlan(near, corner, missed)


def _area(rows: NDArray[np.bool_], columns: NDArray[np.bool_], rng: np.random.Generator) -> Area | None:
    """Where a window is to be: about the object; None if it does not show."""
    if not rows.any():
        return None
    size = len(rows)
    right, down = rng.normal(0, ASTRAY * CELL / size, 2)
    (top, bottom), (left, right_end) = (np.flatnonzero(line)[[0, -1]] for line in (rows, columns))
    return left / size + right, top / size + down, (right_end + 1) / size + right, (bottom + 1) / size + down


def _share(line: NDArray[np.bool_], first: int, side: int) -> float:
    """Share of an object's rows or columns that a window holds; 1 if the object does not show."""
    return float(line[first * CELL : (first + side) * CELL].sum() / line.sum()) if line.any() else 1.0
