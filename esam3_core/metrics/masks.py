# SPDX-License-Identifier: Apache-2.0
"""Overlap of masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.masks import CroppedMask


def mask_iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Intersection over union of two masks [H, W], 0..1; two empty masks agree: 1 (as in DAVIS)."""
    a, b = a.astype(bool), b.astype(bool)
    if a.shape != b.shape:
        raise ValueError(f"masks of {a.shape} and {b.shape} cannot be compared: resize one to the other's frame")
    union = int(np.count_nonzero(a | b))
    return float(np.count_nonzero(a & b) / union) if union else 1.0


def share_inside(mask: CroppedMask, region: NDArray[Any]) -> float:
    """Share of a mask that lies in a region [H, W] of its frame, 0..1; 0 for an empty mask."""
    if not mask.area:
        return 0.0
    x, y, width, height = mask.roi
    return float(np.count_nonzero(mask.bits & (region[y : y + height, x : x + width] > 0)) / mask.area)
