# SPDX-License-Identifier: Apache-2.0
"""Masks as data sets store them: COCO run lengths (compressed or not) and polygons, checked before they are used.

pycocotools fills what a run-length code leaves out with whatever lay in memory; a torn code is therefore found here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

Segmentation = dict[str, Any] | Sequence[Sequence[float]]
"""{"size": [H, W], "counts": str | bytes | list of int}, or polygons [x, y, x, y, ...] in pixels."""


def decode_segmentation(segmentation: Segmentation, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The mask uint8 [H, W] of a COCO segmentation.

    Args:
        size: (H, W) of the picture.

    Raises:
        ValueError: it is of another size, torn, or no segmentation at all.
    """
    rle = compress(segmentation, size)
    return np.ascontiguousarray(coco.decode(rle), np.uint8)


def compress(segmentation: Segmentation, size: tuple[int, int]) -> dict[str, Any]:
    """Any COCO segmentation as a checked, compressed RLE with bytes as counts; see `decode_segmentation`."""
    if not isinstance(segmentation, dict):
        return _from_polygons(segmentation, size)
    if "counts" not in segmentation or list(segmentation.get("size", ())) != list(size):
        raise ValueError(f"a mask of {segmentation.get('size')} does not fit a picture of {list(size)}: wrong RLE")
    counts = segmentation["counts"]
    if isinstance(counts, (list, tuple)):
        _check(np.asarray(counts, np.int64), size)
        return dict(coco.frPyObjects({"size": list(size), "counts": list(counts)}, *size))
    code = counts.encode("ascii", "replace") if isinstance(counts, str) else bytes(counts)
    _check(run_lengths(code), size)
    return {"size": list(size), "counts": code}


def run_lengths(code: bytes) -> NDArray[np.int64]:
    """Run lengths of a compressed RLE, zeros first: five bits a character, lowest first, each run less the one two
    before it (from the fourth on).

    Raises:
        ValueError: the code holds a character that no encoder writes, or ends within a number.
    """
    digits = np.frombuffer(code, np.uint8).astype(np.int64) - 48
    if not digits.size or digits.min() < 0 or digits.max() > 63 or digits[-1] & 32:
        raise ValueError("a run-length code is torn: wrong RLE, fetch the file again")
    ends = np.flatnonzero((digits & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(digits.size) - np.repeat(starts, ends - starts + 1)
    values = np.add.reduceat((digits & 31) << (5 * place), starts)
    negative = (digits[ends] & 16) > 0
    values -= np.where(negative, 1, 0) << (5 * (ends - starts + 1))
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _check(runs: NDArray[np.int64], size: tuple[int, int]) -> None:
    if (runs < 0).any() or int(runs.sum()) != size[0] * size[1]:
        raise ValueError(f"a run-length code does not fill a picture of {list(size)}: wrong RLE, fetch the file again")


def _from_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> dict[str, Any]:
    if not polygons or any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise ValueError("a polygon needs at least three corners x, y: wrong segmentation")
    return dict(coco.merge(coco.frPyObjects([list(polygon) for polygon in polygons], *size)))
