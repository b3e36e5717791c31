# SPDX-License-Identifier: Apache-2.0
"""Masks over time: J&F of DAVIS, identity switches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from esam3_core.metrics.masks import mask_iou
from esam3_core.runtime.masks import CroppedMask, iou_matrix

BOUNDARY = 0.008  # of the frame's diagonal: contours that near each other agree
SAME_OBJECT = 0.5  # IoU from which a track shows an object


def region_similarity(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """J of DAVIS: mask IoU, 0..1."""
    return mask_iou(found, truth)


def boundary_accuracy(found: NDArray[Any], truth: NDArray[Any]) -> float:
    """F of DAVIS: F1 of contour pixels, those within 0.8 % of the diagonal agreeing; 0..1, two empty masks 1."""
    reach = math.ceil(BOUNDARY * math.hypot(*truth.shape))
    ours, theirs = contour(found), contour(truth)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision = np.count_nonzero(ours & _thicken(theirs, reach)) / np.count_nonzero(ours)
    recall = np.count_nonzero(theirs & _thicken(ours, reach)) / np.count_nonzero(theirs)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def contour(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of a mask [H, W] whose right, lower or lower right neighbour differs from them."""
    padded = np.pad(mask.astype(bool), ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    return np.asarray((here ^ padded[:-1, 1:]) | (here ^ padded[1:, :-1]) | (here ^ padded[1:, 1:]))


def _thicken(line: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (rows**2 + columns**2 <= reach**2).astype(np.uint8)
    return cv2.dilate(line.view(np.uint8), disc).view(np.bool_)


@dataclass(frozen=True)
class MaskScores:
    """J and F over a clip."""

    j: float  # mean region similarity
    f: float  # mean boundary accuracy
    frames: int
    lost: int  # frames that hold an object of which nothing is found (J = 0)

    @property
    def j_and_f(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


def score_masks(frames: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> MaskScores:
    """J and F of (found, truth) masks [H, W], one pair per frame.

    Raises:
        ValueError: there is no frame.
    """
    values = [(region_similarity(a, b), boundary_accuracy(a, b)) for a, b in frames]
    if not values:
        raise ValueError("no frame to measure: do the masks belong to this clip?")
    j, f = (float(np.mean(column)) for column in zip(*values, strict=True))
    return MaskScores(j, f, len(values), sum(value == 0 for value, _ in values))


@dataclass(frozen=True)
class TrackScores:
    """How well tracks follow objects over a clip."""

    mean_iou: float  # over objects and frames, 0 where an object is not followed; nan without objects
    coverage: float  # share of (object, frame) that a track follows (IoU >= 0.5); nan without objects
    id_switches: int  # times an object is followed by another id than before
    false_tracks: int  # (track, frame) that show no object
    objects: int
    frames: int


class TrackScorer:
    """Collects frames of one clip; ids are matched as in CLEAR MOT: who was followed by an id stays with it while
    they overlap, the others are assigned anew."""

    def __init__(self) -> None:
        self._owner: dict[int, int] = {}  # object -> track id that followed it last
        self._ious: list[float] = []
        self._objects: set[int] = set()
        self._switches = self._false = self._frames = 0

    def add(self, objects: Mapping[int, CroppedMask], tracks: Mapping[int, CroppedMask]) -> None:
        """One frame: the visible objects and the tracks that claim to see one, by their ids."""
        self._frames += 1
        self._objects |= set(objects)
        names, ids = list(objects), list(tracks)
        ious = iou_matrix(list(objects.values()), list(tracks.values()))
        followed: dict[int, int] = {}
        for row, name in enumerate(names):
            column = ids.index(self._owner[name]) if self._owner.get(name) in ids else -1
            if column >= 0 and ious[row, column] >= SAME_OBJECT and column not in followed.values():
                followed[row] = column
        rows = [r for r in range(len(names)) if r not in followed]
        columns = [c for c in range(len(ids)) if c not in followed.values()]
        open_ious = np.where(ious[np.ix_(rows, columns)] >= SAME_OBJECT, ious[np.ix_(rows, columns)], 0.0)
        for i, j in zip(*linear_sum_assignment(-open_ious), strict=True):
            if open_ious[i, j] > 0:
                followed[rows[i]] = columns[j]
        self._note(names, ids, ious, followed)

    def _note(self, names: list[int], ids: list[int], ious: NDArray[np.float64], followed: dict[int, int]) -> None:
        for row, name in enumerate(names):
            column = followed.get(row)
            if column is None:
                self._ious.append(0.0)
                continue
            self._ious.append(float(ious[row, column]))
            self._switches += self._owner.get(name, ids[column]) != ids[column]
            self._owner[name] = ids[column]
        self._false += len(ids) - len(followed)

    def result(self) -> TrackScores:
        """The scores of all frames so far."""
        ious = np.array(self._ious)
        mean = float(ious.mean()) if ious.size else float("nan")
        coverage = float((ious > 0).mean()) if ious.size else float("nan")
        return TrackScores(mean, coverage, self._switches, self._false, len(self._objects), self._frames)
