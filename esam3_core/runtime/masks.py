# SPDX-License-Identifier: Apache-2.0
"""Masks, cropped to where they are.

A frame holds a few objects that each cover a few per cent of it. Whatever is done to a mask (compare, shift, pack,
encode) is therefore done to its crop; the full frame is built only for those who ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
Roi = tuple[int, int, int, int]
"""x, y, width, height in pixels of the frame."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A mask as a network drew it: logits [h, w] that cover the whole frame; above the level a pixel is in the mask."""

    logits: NDArray[np.float32]
    level: float


@dataclass(frozen=True, eq=False)
class CroppedMask:
    """A mask in a frame, kept as its tight crop.

    `bits` are the pixels of the crop, `x`, `y` its top left corner and `size` (H, W) that of the frame. The crop lies
    inside the frame. An empty mask has a crop of 0 x 0 pixels.
    """

    bits: BoolArray  # [h, w]
    x: int
    y: int
    size: tuple[int, int]
    drawn: Drawing | None = None  # what it was cut out of, where that is known

    @classmethod
    def from_full(cls, mask: BoolArray) -> CroppedMask:
        """Crop a mask [H, W] of bool to its tight box."""
        height, width = mask.shape
        return cls(mask, 0, 0, (height, width)).tight()

    @classmethod
    def empty(cls, size: tuple[int, int]) -> CroppedMask:
        """A mask without pixels in a frame of (H, W)."""
        return cls(np.zeros((0, 0), np.bool_), 0, 0, size)

    @property
    def roi(self) -> Roi:
        """The crop's rectangle in the frame: x, y, width, height."""
        height, width = self.bits.shape
        return self.x, self.y, width, height

    @cached_property
    def area(self) -> int:
        """Pixels in the mask."""
        return int(np.count_nonzero(self.bits))

    def full(self) -> BoolArray:
        """The mask in its whole frame: bool [H, W]."""
        mask = np.zeros(self.size, np.bool_)
        x, y, width, height = self.roi
        mask[y : y + height, x : x + width] = self.bits
        return mask

    def cut(self, roi: Roi) -> BoolArray:
        """The mask in any rectangle x, y, width, height of its frame: bool [height, width]."""
        x, y, width, height = roi
        cut = np.zeros((height, width), np.bool_)
        rows, columns = self.bits.shape
        top, bottom = max(y, self.y), min(y + height, self.y + rows)
        left, right = max(x, self.x), min(x + width, self.x + columns)
        if bottom > top and right > left:
            own = self.bits[top - self.y : bottom - self.y, left - self.x : right - self.x]
            cut[top - y : bottom - y, left - x : right - x] = own
        return cut

    def without(self, other: BoolArray, roi: Roi) -> CroppedMask:
        """The mask but for the pixels that are set in `other`, which covers the rectangle `roi` of its frame."""
        gone = CroppedMask(other, roi[0], roi[1], self.size).cut(self.roi)
        return replace(self, bits=self.bits & ~gone).tight()

    def tight(self) -> CroppedMask:
        """The same mask, its crop shrunk to the pixels that are set."""
        rows = np.flatnonzero(self.bits.any(axis=1))
        if rows.size == 0:
            return CroppedMask.empty(self.size)
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        columns = np.flatnonzero(self.bits[top:bottom].any(axis=0))
        left, right = int(columns[0]), int(columns[-1]) + 1
        return replace(self, bits=self.bits[top:bottom, left:right], x=self.x + left, y=self.y + top)

    def shifted(self, dx: int, dy: int) -> CroppedMask:
        """The mask moved by whole pixels; what leaves the frame is cut off."""
        height, width = self.size
        x, y = self.x + dx, self.y + dy
        left, top = max(0, -x), max(0, -y)
        right = max(left, min(self.bits.shape[1], width - x))
        bottom = max(top, min(self.bits.shape[0], height - y))
        if right == left or bottom == top:
            return CroppedMask.empty(self.size)
        return CroppedMask(self.bits[top:bottom, left:right], x + left, y + top, self.size).tight()


def intersection(a: CroppedMask, b: CroppedMask) -> int:
    """Pixels that two masks of one frame share."""
    left, top = max(a.x, b.x), max(a.y, b.y)
    right = min(a.x + a.bits.shape[1], b.x + b.bits.shape[1])
    bottom = min(a.y + a.bits.shape[0], b.y + b.bits.shape[0])
    if right <= left or bottom <= top:
        return 0
    crop_a = a.bits[top - a.y : bottom - a.y, left - a.x : right - a.x]
    crop_b = b.bits[top - b.y : bottom - b.y, left - b.x : right - b.x]
    return int(np.count_nonzero(crop_a & crop_b))


def iou_matrix(a: Sequence[CroppedMask], b: Sequence[CroppedMask]) -> NDArray[np.float64]:
    """Intersection over union of every pair, [len(a), len(b)], 0..1; two empty masks have 0."""
    ious = np.zeros((len(a), len(b)))
    for i, j in np.argwhere(_crops_touch(a, b)).tolist():
        shared = intersection(a[i], b[j])
        if shared:
            ious[i, j] = shared / (a[i].area + b[j].area - shared)
    return ious


def _crops_touch(a: Sequence[CroppedMask], b: Sequence[CroppedMask]) -> BoolArray:
    """Which crops share a pixel, [len(a), len(b)]: few do, and only they need be compared."""
    first = np.array([mask.roi for mask in a]).reshape(-1, 1, 4)  # [A, 1, xywh]
    second = np.array([mask.roi for mask in b]).reshape(1, -1, 4)
    start = np.maximum(first[..., :2], second[..., :2])
    end = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    return np.asarray((end > start).all(axis=2))


def pack(mask: CroppedMask) -> NDArray[np.uint8]:
    """The crop of a mask as bits, row by row without padding, lowest bit first.

    Pixel k = y * width + x (relative to the roi) is set iff (data[k >> 3] >> (k & 7)) & 1.
    """
    return np.packbits(mask.bits, bitorder="little")


def unpack(data: Any, roi: Roi, size: tuple[int, int]) -> CroppedMask:
    """The mask that `pack` made, in a frame of `size` (H, W).

    Args:
        data: uint8 [ceil(width * height / 8)], or any buffer of such bytes; empty gives an empty mask.

    Raises:
        ValueError: the roi leaves the frame, or the number of bytes is not that of the roi.
    """
    x, y, width, height = roi
    packed = np.frombuffer(data, np.uint8)
    if packed.size == 0:
        return CroppedMask.empty(size)
    if x < 0 or y < 0 or x + width > size[1] or y + height > size[0]:
        raise ValueError(f"roi {roi} leaves the frame of {size[1]} x {size[0]} pixels: was it packed for another?")
    pixels = width * height
    if packed.size != (pixels + 7) // 8:
        raise ValueError(f"{packed.size} bytes cannot be a mask of {width} x {height} pixels: send the whole array")
    bits = np.unpackbits(packed, count=pixels, bitorder="little").view(np.bool_)
    return CroppedMask(bits.reshape(height, width), x, y, size)


def encode_rle(mask: CroppedMask) -> dict[str, Any]:
    """COCO compressed RLE of a mask: {"size": [H, W], "counts": str}."""
    from pycocotools import mask as coco

    # pycocotools reads column by column: filled in that order, the frame need not be copied.
    pixels = np.zeros(mask.size, np.uint8, order="F")
    x, y, width, height = mask.roi
    pixels[y : y + height, x : x + width] = mask.bits
    encoded = coco.encode(pixels)
    return {"size": [int(n) for n in encoded["size"]], "counts": encoded["counts"].decode("ascii")}


def decode_rle(rle: dict[str, Any]) -> BoolArray:
    """The mask bool [H, W] of a COCO compressed RLE."""
    from pycocotools import mask as coco

    counts = rle["counts"]
    encoded = {"size": rle["size"], "counts": counts.encode("ascii") if isinstance(counts, str) else counts}
    return np.ascontiguousarray(coco.decode(encoded)).view(np.bool_)
