# SPDX-License-Identifier: Apache-2.0
"""J&F of objects followed through clips from their first mask, by the official rules of DAVIS 2017, LVOS and SA-V.

All three leave an object's first and last annotated frame out: the first was given, and DAVIS began so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esam3_core.data.clip import Clip
from esam3_core.metrics.video import boundary_accuracy, region_similarity
from esam3_core.runtime.masks import CroppedMask

Found = Callable[[Clip], Iterable[tuple[int, Mapping[int, CroppedMask]]]]
"""Follows the objects of a clip: gives (frame index, object -> mask) for at least every annotated frame."""

Frames = Mapping[int, Sequence[int]]
"""Object -> indices of the frames it is measured in."""


@dataclass(frozen=True)
class ObjectScores:
    """One object of a clip, or the mean over several."""

    j: float  # region similarity, mean over its frames
    j_recall: float  # share of frames with more than 0.5
    j_decay: float  # mean of the first quarter of its frames less that of the last
    f: float  # boundary accuracy
    f_recall: float
    f_decay: float
    spread: float  # LVOS's V: standard deviation of J&F over the frames

    @property
    def j_and_f(self) -> float:
        """Mean of J and F."""
        return (self.j + self.f) / 2


def measure_clip(
    clip: Clip, found: Iterable[tuple[int, Mapping[int, CroppedMask]]], frames: Frames
) -> dict[int, ObjectScores]:
    """Scores of each object of a clip.

    Args:
        found: (frame index, object -> mask); a frame or an object that is missing counts as an empty mask.
        frames: which frames each object is measured in.

    Raises:
        ValueError: a mask is of an object the clip does not have, or of another size.
    """
    answers = dict(found)
    unknown = {number for masks in answers.values() for number in masks} - set(clip.labels)
    if unknown:
        raise ValueError(f"{clip.key} has objects {sorted(clip.labels)}, but masks were given for {sorted(unknown)}")
    values: dict[int, list[tuple[float, float]]] = {number: [] for number in frames}
    for index in sorted({index for indices in frames.values() for index in indices}):
        truth, answer = clip.masks(index), answers.get(index, {})
        size = next((crop.size for crop in (*truth.values(), *answer.values())), None)
        for number, indices in frames.items():
            if index in indices:
                values[number].append(_compare(answer.get(number), truth.get(number), size))
    return {number: _statistics(np.array(rows)) for number, rows in values.items() if rows}


def inner_frames(clip: Clip) -> Frames:
    """DAVIS's and SA-V's rule: all annotated frames but the first and the last, for each object."""
    return dict.fromkeys(clip.labels, clip.annotated[1:-1])


def span_frames(clip: Clip, spans: Mapping[int, tuple[int, int]]) -> Frames:
    """LVOS's rule: the annotated frames strictly within each object's span (first and last index in the clip)."""
    return {number: [i for i in clip.annotated if start < i < end] for number, (start, end) in spans.items()}


def mean_scores(objects: Sequence[ObjectScores]) -> ObjectScores:
    """Mean over objects, as all three data sets have it: every object weighs the same."""
    if not objects:
        raise ValueError("no object to measure: is the part of the data set empty?")
    columns = np.array([list(one.__dict__.values()) for one in objects])
    return ObjectScores(*(float(value) for value in columns.mean(0)))


def _compare(
    found: CroppedMask | None, truth: CroppedMask | None, size: tuple[int, int] | None
) -> tuple[float, float]:
    if size is None or ((found is None or not found.area) and (truth is None or not truth.area)):
        return 1.0, 1.0
    ours, theirs = ((crop or CroppedMask.empty(size)).full() for crop in (found, truth))
    return region_similarity(ours, theirs), boundary_accuracy(ours, theirs)


def _statistics(values: NDArray[np.float64]) -> ObjectScores:
    """Of J and F [frames, 2]."""
    mean, recall = values.mean(0), (values > 0.5).mean(0)
    decay = _decay(values)
    both = values.mean(1)
    spread = math.sqrt(round(float(((both - both.mean()) ** 2).mean()), 4))  # LVOS rounds before the root
    j, f = ((float(mean[i]), float(recall[i]), float(decay[i])) for i in (0, 1))
    return ObjectScores(*j, *f, spread)


def _decay(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """DAVIS's bins: five marks over the frames, each bin with both its ends."""
    ids = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(int)
    return np.asarray(values[ids[0] : ids[1] + 1].mean(0) - values[ids[3] : ids[4] + 1].mean(0))
