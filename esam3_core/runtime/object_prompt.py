# SPDX-License-Identifier: Apache-2.0
"""A box, points or a mask on a frame: ways to say "this one object"."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.errors import PromptError
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.track import Box

NEGATIVE, POSITIVE, CORNERS, PADDING = 0, 1, (2, 3), -1  # labels of points
CERTAIN = 10.0  # logit of a mask that somebody gave
Point = tuple[float, float, int]
"""x, y in pixels of the frame, and 1 (on the object) or 0 (not on it)."""


@dataclass(frozen=True, eq=False)
class ObjectPrompt:
    """Points and corners of a box, as the propagator reads them."""

    points: NDArray[np.float32]  # [K, 2], x and y in 0..1 of the frame
    labels: NDArray[np.int64]  # [K]


def object_prompt(
    box: Box | None, points: Iterable[Sequence[float]], size: tuple[int, int], room: int
) -> ObjectPrompt:
    """The prompt of a box, of points, or of both, in a frame of `size` (H, W).

    Args:
        box: x, y, width, height in pixels; it may stand out of the frame, but not lie outside.
        points: (x, y, 1) on the object, (x, y, 0) beside it, pixels.
        room: K.

    Raises:
        PromptError: there is neither a box nor a positive point, there are too many, or one cannot be on the frame.
    """
    given: list[tuple[float, float, int]] = []
    if box is not None:
        left, top, width, height = clip_box(box, size)
        given += [(left, top, CORNERS[0]), (left + width, top + height, CORNERS[1])]
    given += [_checked(point, size) for point in points]
    if not any(label != NEGATIVE for _, _, label in given):
        raise PromptError("nothing shows the object: give a box, a mask, or a point (x, y, 1) that lies on it")
    if len(given) > room:
        raise PromptError(
            f"{len(given)} points (a box counts as two), this bundle takes {room}: give fewer, or a mask"
        )
    values = np.zeros((room, 2), np.float32)
    labels = np.full(room, PADDING, np.int64)
    for row, (x, y, label) in enumerate(given):
        values[row], labels[row] = (x / size[1], y / size[0]), label
    return ObjectPrompt(values, labels)


def clip_box(box: Any, size: tuple[int, int]) -> Box:
    """A box x, y, width, height cut at the borders of a frame of `size` (H, W).

    Raises:
        PromptError: it is not four numbers, has no area, or lies outside the frame.
    """
    try:
        x, y, width, height = (float(side) for side in box)
    except (TypeError, ValueError) as error:
        raise PromptError(f"a box is four numbers x, y, width, height in pixels, not {box!r}") from error
    if not all(math.isfinite(side) for side in (x, y, width, height)) or width <= 0 or height <= 0:
        raise PromptError(f"the box {tuple(box)} has no area: give x, y, width, height in pixels")
    left, top = max(x, 0.0), max(y, 0.0)
    right, bottom = min(x + width, float(size[1])), min(y + height, float(size[0]))
    if right <= left or bottom <= top:
        raise PromptError(
            f"the box {tuple(box)} lies outside the frame of {size[1]}x{size[0]} pixels: is it of another image?"
        )
    return left, top, right - left, bottom - top


def check_mask(mask: Any, size: tuple[int, int]) -> CroppedMask:
    """A user's mask, bool (or 0 and other numbers) [H, W].

    Raises:
        PromptError: it has another size than the frame, or no pixel.
    """
    array = np.asarray(mask)
    if array.shape != size:
        raise PromptError(f"the mask has shape {list(array.shape)}: give one of the frame's, {list(size)}")
    crop = CroppedMask.from_full(array.astype(np.bool_))
    if crop.area == 0:
        raise PromptError("the mask is empty: set the pixels of the object to True")
    return crop


def mask_logits(crop: CroppedMask, side: int) -> NDArray[np.float32]:
    """Logits [side, side] of a mask that is certain: CERTAIN inside, -CERTAIN outside, in between at its border."""
    share = _shares(crop, side)
    if share.max() <= 0.5:  # thinner than half a cell: what there is most of must be enough
        share = share / share.max() if share.max() > 0 else share
    return np.asarray((2 * share - 1) * CERTAIN, np.float32)


def _shares(crop: CroppedMask, side: int) -> NDArray[np.float32]:
    """How much of each of [side, side] cells of the frame a mask covers, 0..1; only those around it are looked at."""
    if min(crop.size) < side:  # OpenCV interpolates then, so that a cell depends on its neighbours
        return np.asarray(cv2.resize(crop.full().astype(np.float32), (side, side), interpolation=cv2.INTER_AREA))
    x, y, width, height = crop.roi
    (left, right), (x_start, x_end) = _cells_around(x, x + width, crop.size[1], side)
    (top, bottom), (y_start, y_end) = _cells_around(y, y + height, crop.size[0], side)
    around = np.zeros((y_end - y_start, x_end - x_start), np.float32)
    around[y - y_start : y + height - y_start, x - x_start : x + width - x_start] = crop.bits
    shares = np.zeros((side, side), np.float32)
    if around.size:
        cells = (right - left, bottom - top)
        shares[top:bottom, left:right] = cv2.resize(around, cells, interpolation=cv2.INTER_AREA)
    return shares


def _cells_around(start: int, stop: int, pixels: int, cells: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Along one axis, the cells that some pixels touch, and the pixels these cover: from a border of a cell that is one
    of a pixel too, to another."""
    step = cells // math.gcd(cells, pixels)  # cells between borders that coincide
    first = start * cells // pixels // step * step
    last = min(cells, -(-stop * cells // (pixels * step)) * step)
    return (first, last), (first * pixels // cells, last * pixels // cells)


def _checked(point: Sequence[float], size: tuple[int, int]) -> tuple[float, float, int]:
    try:
        x, y, label = (float(value) for value in point)
    except (TypeError, ValueError) as error:
        raise PromptError(f"a point is x, y and 1 (on the object) or 0 (not on it), not {point!r}") from error
    if label not in (NEGATIVE, POSITIVE):
        raise PromptError(f"the point {tuple(point)} must end in 1 (on the object) or 0 (not on it)")
    if not (0 <= x <= size[1] and 0 <= y <= size[0]):
        raise PromptError(f"the point {tuple(point)} lies outside the frame of {size[1]}x{size[0]} pixels")
    return x, y, int(label)
