# SPDX-License-Identifier: Apache-2.0
"""HOTA: detection and association of tracks, judged together.

"HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking" (Luiten et al., 2020). The numbers are TrackEval's
to the last digit that floats allow; TrackEval itself cannot be installed beside OpenCV without a screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from esam3_core.runtime.masks import CroppedMask, iou_matrix

ALPHAS = np.arange(0.05, 0.99, 0.05)
"""Localisation thresholds .05:.05:.95."""

EPS = float(np.finfo("float").eps)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HotaCounts:
    """What one or more clips count, per threshold of ALPHAS: [19] each."""

    true: Floats  # (object, frame) that a track shows
    missed: Floats
    false: Floats  # (track, frame) that show no object
    overlap: Floats  # sum of the IoUs of the true ones
    ass_a: Floats  # sum over the true ones of their association accuracy, recall and precision
    ass_re: Floats
    ass_pr: Floats

    def __add__(self, other: HotaCounts) -> HotaCounts:
        return HotaCounts(*(a + b for a, b in zip(self.__dict__.values(), other.__dict__.values(), strict=True)))

    @classmethod
    def zero(cls) -> HotaCounts:
        """Of no clip."""
        return cls(*(np.zeros(len(ALPHAS)) for _ in range(7)))


@dataclass(frozen=True)
class HotaScores:
    """Means over ALPHAS, 0..1."""

    hota: float  # sqrt(DetA x AssA)
    det_a: float
    ass_a: float
    det_re: float
    det_pr: float
    ass_re: float
    ass_pr: float
    loc_a: float  # mean IoU of the true ones; 1 where there is none
    owta: float  # sqrt(DetRe x AssA): for open worlds, where false tracks do not count


class HotaScorer:
    """Collects the frames of one clip."""

    def __init__(self) -> None:
        self._frames: list[tuple[list[int], list[int], Floats]] = []

    def add(self, objects: Mapping[int, CroppedMask], tracks: Mapping[int, CroppedMask]) -> None:
        """One frame: the visible objects and the tracks that claim to see one, by their ids."""
        self.add_similarity(list(objects), list(tracks), iou_matrix(list(objects.values()), list(tracks.values())))

    def add_similarity(self, objects: list[int], tracks: list[int], similarity: Floats) -> None:
        """One frame whose IoUs [objects, tracks] are known."""
        self._frames.append((objects, tracks, similarity))

    def counts(self) -> HotaCounts:
        """The counts of all frames so far."""
        rows = {name: i for i, name in enumerate(sorted({n for names, _, _ in self._frames for n in names}))}
        columns = {name: i for i, name in enumerate(sorted({n for _, names, _ in self._frames for n in names}))}
        frames = [
            (np.array([rows[n] for n in names], int), np.array([columns[n] for n in ids], int), similarity)
            for names, ids, similarity in self._frames
        ]
        return _count(frames, (len(rows), len(columns)))


def hota_scores(counts: Iterable[HotaCounts]) -> HotaScores:
    """The scores of several clips together: every (object, frame) weighs the same."""
    total = sum(counts, HotaCounts.zero())
    found = np.maximum(1, total.true)
    det_a = total.true / np.maximum(1, total.true + total.missed + total.false)
    det_re = total.true / np.maximum(1, total.true + total.missed)
    det_pr = total.true / np.maximum(1, total.true + total.false)
    ass_a = total.ass_a / found
    loc_a = np.maximum(1e-10, total.overlap) / np.maximum(1e-10, total.true)
    columns = (np.sqrt(det_a * ass_a), det_a, ass_a, det_re, det_pr, total.ass_re / found, total.ass_pr / found,
               loc_a, np.sqrt(det_re * ass_a))  # fmt: skip
    return HotaScores(*(float(np.mean(column)) for column in columns))


def _count(frames: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]], shape: tuple[int, int]) -> HotaCounts:
    alignment, objects, tracks = _alignment(frames, shape)
    true, missed, false, overlap = (np.zeros(len(ALPHAS)) for _ in range(4))
    matches = np.zeros((len(ALPHAS), *shape))
    for rows, columns, similarity in frames:
        r, c = linear_sum_assignment(-alignment[np.ix_(rows, columns)] * similarity)
        picked = similarity[r, c]
        hits = picked[None, :] >= ALPHAS[:, None] - EPS  # [19, matches]
        count = hits.sum(1)
        true += count
        missed += len(rows) - count
        false += len(columns) - count
        overlap += (hits * picked).sum(1)
        matches[:, rows[r], columns[c]] += hits
    ass = [(matches**2 / np.maximum(1, size)).sum((1, 2)) for size in (objects + tracks - matches, objects, tracks)]
    return HotaCounts(true, missed, false, overlap, *ass)


def _alignment(
    frames: list[tuple[NDArray[np.int64], NDArray[np.int64], Floats]], shape: tuple[int, int]
) -> tuple[Floats, Floats, Floats]:
    """How well each object and each track go together over the clip [objects, tracks], and how often each is there."""
    potential = np.zeros(shape)
    objects, tracks = np.zeros((shape[0], 1)), np.zeros((1, shape[1]))
    for rows, columns, similarity in frames:
        rest = similarity.sum(0)[None, :] + similarity.sum(1)[:, None] - similarity
        share = np.divide(similarity, rest, out=np.zeros_like(similarity), where=rest > EPS)
        potential[np.ix_(rows, columns)] += share
        objects[rows] += 1
        tracks[0, columns] += 1
    return potential / np.maximum(objects + tracks - potential, EPS), objects, tracks
