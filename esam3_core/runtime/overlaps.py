# SPDX-License-Identifier: Apache-2.0
"""Masks of one frame that claim the same pixels: as logits [T, h, w], and as they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.masks import CroppedMask

SUPPRESSED = -10.0  # logit of a pixel that another track has (SAM 2, non-overlapping masks)
Array = NDArray[Any]


def overlap_matrix(logits: Array) -> Array:
    """IoU of every pair of masks [T, h, w], [T, T] 0..1; two empty masks have 0."""
    inside = (logits > 0).reshape(len(logits), -1).astype(np.float32)
    shared = inside @ inside.T
    areas = inside.sum(axis=1)
    union = areas[:, None] + areas[None] - shared
    return np.asarray(shared / np.maximum(union, 1.0))


def without_overlap(logits: Array, groups: Sequence[str], level: float = 0.0) -> Array:
    """The masks [T, h, w], each pixel that is claimed left to the track of its group that claims it most.

    A red cup and a cup may be the same thing, two cups are not (`LiveTrack.group`). What nobody claims stays as it
    is: masks enter memory as they were drawn, not only as yes and no.

    Args:
        level: logit above which a pixel is claimed.
    """
    cleared = logits.copy()
    for group in set(groups):
        rows = np.flatnonzero([one == group for one in groups])
        if len(rows) > 1:
            owner = logits[rows].argmax(axis=0)  # [h, w]
            claimed = logits[rows].max(axis=0) > level
            lost = claimed & (np.arange(len(rows))[:, None, None] != owner)
            cleared[rows] = np.where(lost, np.minimum(logits[rows], SUPPRESSED), logits[rows])
    return cleared


def settled(before: Sequence[CroppedMask], after: Sequence[CroppedMask], groups: Sequence[str]) -> list[CroppedMask]:
    """Refined masks of which no two of a group share a pixel that not both had `before`: it stays with the one that had
    it, and goes to the earlier where neither had. A mask of which nothing is left is shown as it was before."""
    kept = list(after)
    for i, j in combinations(range(len(after)), 2):
        if groups[i] != groups[j]:
            continue
        roi = kept[i].roi
        new = kept[i].cut(roi) & kept[j].cut(roi) & ~(before[i].cut(roi) & before[j].cut(roi))
        if new.any():
            theirs = new & before[j].cut(roi)
            kept[i], kept[j] = kept[i].without(theirs, roi), kept[j].without(new & ~theirs, roi)
    return [now if now.area else was for now, was in zip(kept, before, strict=True)]
