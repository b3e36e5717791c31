# SPDX-License-Identifier: Apache-2.0
"""Run a student over pictures whose answers are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from tqdm import tqdm

from esam3_core.data.sample import Sample
from esam3_core.metrics.concepts import SAME_INSTANCE
from esam3_core.metrics.masks import share_inside
from esam3_core.metrics.pairs import Pair
from esam3_core.metrics.questions import Question
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.student import Student
from esam3_core.runtime.text import normalise
from esam3_core.runtime.track import Detection

LOWEST_SCORE = 0.05  # detections below are not looked at by any metric
UNKNOWN_SHARE = 0.5  # a detection that lies this much where nothing is known is neither right nor wrong


class Samples(Protocol):
    """Anything with samples."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


def evaluate(student: Student, samples: Samples, ask: Callable[[Sample], list[Question]], limit: int = 0) -> list[Pair]:
    """Every question about every picture, answered once.

    Args:
        student: its score threshold plays no part.
        ask: chooses the questions about a picture.
        limit: pictures, spread evenly over `samples`; 0 = all.
    """
    pairs: list[Pair] = []
    for index in tqdm(chosen(len(samples), limit), unit="picture", desc="evaluate"):
        sample = samples[index]
        questions = ask(sample)
        if questions:
            pairs += pairs_of(sample, questions, detect(student, sample, [q.phrase for q in questions]))
    return pairs


def chosen(count: int, limit: int) -> list[int]:
    """Indices of at most `limit` of `count` samples (0 = all), spread evenly."""
    if not limit or limit >= count:
        return list(range(count))
    return [index * count // limit for index in range(limit)]


def detect(student: Student, sample: Sample, phrases: Iterable[str]) -> list[Detection]:
    """Detections of every score from LOWEST_SCORE on."""
    before = student.detector
    student.detector = dataclasses.replace(before, score_threshold=LOWEST_SCORE)
    try:
        return student.segment(sample.image, phrases)
    finally:
        student.detector = before


def pairs_of(sample: Sample, questions: Sequence[Question], detections: Sequence[Detection]) -> list[Pair]:
    """Detections of one picture beside its labels, one pair per question."""
    crops = [CroppedMask.from_full(mask.astype(bool)) for mask in sample.masks]
    pairs = []
    for question in questions:
        name = normalise(question.phrase)
        own = [detection for detection in detections if detection.concept == name]
        ious = iou_matrix([one.crop for one in own], [crops[hit] for hit in question.hits])
        kept = np.array([_counts(sample, one, row) for one, row in zip(own, ious, strict=True)], bool)
        scores = np.array([one.score for one in own], float)
        pairs.append(Pair(sample.key, question.phrase, question.kind, scores[kept], ious[kept]))
    return pairs


def _counts(sample: Sample, detection: Detection, ious: np.ndarray) -> bool:
    """Whether a detection is right or wrong, rather than somewhere nothing is known."""
    if sample.ignored is None or (ious.size and ious.max() >= SAME_INSTANCE):
        return True
    return share_inside(detection.crop, sample.ignored) < UNKNOWN_SHARE
