# SPDX-License-Identifier: Apache-2.0
"""Masks whose border lies where the camera's picture has it.

What detector and memory draw is as coarse as their maps, a cell of which is several pixels of the camera. The engine
`refiner` sees each mask once more, in a crop of the camera's own picture, and corrects it. It changes what is shown,
never what is remembered or compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.buckets import padded, rows_for, split
from esam3_core.runtime.bundle import REFINER_GRAPH
from esam3_core.runtime.engines import Engine
from esam3_core.runtime.masks import CroppedMask, Roi
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.stages import Stages

REFINER_INPUTS = ("crops", "masks")
REFINER_OUTPUTS = ("refined",)
SIDE = 64  # R, cells along a side of a crop
ROOM = 0.2  # of a mask's box that a crop shows beyond it, on each side
LEAST_ROOM = 4  # pixels
MOST = 8.0  # logit beyond which a mask is just sure
SURE = 4.0  # logit of a mask of which only its pixels are known
Array = NDArray[Any]


class Refiner:
    """Runs the engine over the masks of a frame."""

    def __init__(self, engine: Engine, stages: Stages) -> None:
        self._engine = engine
        self._stages = stages

    def refine(self, image: Image, masks: Sequence[CroppedMask]) -> list[CroppedMask]:
        """The refined masks, in their order; one that is empty, or of which nothing would be left, stays as it is.

        Args:
            image: uint8 RGB [H, W, 3], the frame in which the masks lie.
        """
        refined = list(masks)
        drawn = [index for index, mask in enumerate(masks) if mask.area]
        with self._stages.measure(REFINER_GRAPH):
            for part in split(drawn):
                windows = [window(masks[index]) for index in part]
                pairs = zip(part, windows, strict=True)
                crops, given = zip(*(view(image, masks[index], place) for index, place in pairs), strict=True)
                logits = self._run(np.stack(crops), np.stack(given))
                for index, place, values in zip(part, windows, logits, strict=True):
                    refined[index] = _pasted(values, place, masks[index])
        return refined

    def _run(self, crops: Array, masks: Array) -> Array:
        rows = rows_for(self._engine, len(crops))
        raw = self._engine.run({"crops": padded(crops, rows), "masks": padded(masks, rows)})
        return np.asarray(raw["refined"][: len(crops)])


def window(mask: CroppedMask) -> Roi:
    """The part of the frame in which a mask is refined: its box and some room, as far as the frame goes.

    Args:
        mask: not empty.
    """
    height, width = mask.size
    x, y, w, h = mask.roi
    beside, above = max(LEAST_ROOM, round(ROOM * w)), max(LEAST_ROOM, round(ROOM * h))
    left, top = max(0, x - beside), max(0, y - above)
    return left, top, min(width, x + w + beside) - left, min(height, y + h + above) - top


def view(image: Image, mask: CroppedMask, place: Roi) -> tuple[Image, NDArray[np.float32]]:
    """What the refiner is given: the picture uint8 [R, R, 3] in a window, and the mask there, float32 [R, R], as logits
    above its level; where nobody knows these, as SURE inside and -SURE outside."""
    left, top, width, height = place
    crop = squash(image[top : top + height, left : left + width])
    if mask.drawn is not None:
        return crop, np.clip(_cut(mask.drawn.logits, place, mask.size) - mask.drawn.level, -MOST, MOST)
    x, y, w, h = mask.roi
    within = np.full((height, width), -SURE, np.float32)
    within[y - top : y - top + h, x - left : x - left + w] += 2 * SURE * mask.bits
    return crop, squash(within)


def squash(pixels: Array) -> Array:
    """Pixels [h, w] or [h, w, 3] resized to a side of R; what is made smaller is averaged."""
    smaller = pixels.shape[0] > SIDE and pixels.shape[1] > SIDE
    return cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def _cut(logits: NDArray[np.float32], place: Roi, size: tuple[int, int]) -> NDArray[np.float32]:
    """A window of a map that covers a frame of `size` (H, W), resampled to a side of R."""
    left, top, width, height = place
    across, down = logits.shape[1] / size[1], logits.shape[0] / size[0]  # cells of the map per pixel
    # Centres of pixels are at halves, in the crop as in the map.
    affine = np.array([
        [across * width / SIDE, 0, across * (left + width / SIDE / 2) - 0.5],
        [0, down * height / SIDE, down * (top + height / SIDE / 2) - 0.5],
    ])  # fmt: skip
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cut = cv2.warpAffine(logits, affine, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cut, np.float32)


def _pasted(logits: Array, place: Roi, before: CroppedMask) -> CroppedMask:
    left, top, width, height = place
    bits = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR) > 0
    after = CroppedMask(bits, left, top, before.size).tight()
    return after if after.area else before
