# SPDX-License-Identifier: Apache-2.0
"""Do scores mean what they say: of the detections with score 0.7, do seven in ten show an instance?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.metrics.concepts import SAME_INSTANCE
from esam3_core.metrics.pairs import Pair, greedy_hits


@dataclass(frozen=True)
class Calibration:
    """A reliability curve. Bins without a detection are left out."""

    score: list[float]  # mean score of each bin
    share: list[float]  # of its detections that show an instance
    count: list[int]  # its detections
    error: float  # expected calibration error: mean |score - share|, weighted by count; nan without detections


def outcomes(pairs: Sequence[Pair]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Score [n] of every detection of all pairs, and whether it shows an instance (IoU >= 0.5): bool [n]."""
    scores = [pair.scores for pair in pairs]
    hits = [greedy_hits(pair, SAME_INSTANCE) for pair in pairs]
    return np.concatenate(scores or [np.zeros(0)]), np.concatenate(hits or [np.zeros(0, bool)])


def reliability(scores: NDArray[np.float64], hits: NDArray[Any], bins: int = 10) -> Calibration:
    """The curve over `bins` equal bins of 0..1."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    used = [b for b in range(bins) if np.any(place == b)]
    mean = [float(scores[place == b].mean()) for b in used]
    share = [float(hits[place == b].mean()) for b in used]
    count = [int(np.count_nonzero(place == b)) for b in used]
    gaps = np.abs(np.array(mean) - np.array(share))
    error = float(np.average(gaps, weights=count)) if used else float("nan")
    return Calibration(mean, share, count, error)


def affine_calibration(scores: NDArray[np.float64], hits: NDArray[Any]) -> tuple[float, float] | None:
    """Scale and shift that make sigmoid(scale x logit(score) + shift) the likeliest probability (Platt).

    A weak pull towards (1, 0) keeps the answer finite when scores separate hits and misses. None unless there are
    both hits and misses.
    """
    if not hits.any() or hits.all():
        return None
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    logits = np.log(clipped / (1 - clipped))
    design = np.stack([logits, np.ones_like(logits)], 1)  # [n, 2]
    start = weights = np.array([1.0, 0.0])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -50, 50)))
        gradient = design.T @ (p - hits) + (weights - start)
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        step /= max(1.0, float(np.abs(step).max()))  # a full Newton step may run away from a flat start
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])
