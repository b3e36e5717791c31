# SPDX-License-Identifier: Apache-2.0
"""SA-Co's official scores of pictures: several annotators, the best answer counts (oracle).

The rule of facebookresearch/sam3, sam3/eval/cgf1_eval.py. (EfficientSAM3's later copy counts false positives of
negatives in pmF1 too and gives lower numbers; the two must not be mixed.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from esam3_core.data.rle import compress
from esam3_core.data.saco import PhrasePair
from esam3_core.metrics.concepts import IOUS, Counts
from esam3_core.metrics.pairs import NOUN, Pair

SCORE = 0.5  # from which a prediction counts


@dataclass(frozen=True)
class SacoScores:
    """In 0..1; IL_MCC in -1..1."""

    cg_f1: float  # mean over IOUS
    pm_f1: float
    il_mcc: float
    cg_f1_50: float
    cg_f1_75: float
    pm_f1_50: float
    pm_f1_75: float
    false_positive_rate: float  # share of the pairs without an instance in which something is found
    positives: int  # pairs with an instance, by the annotator chosen
    negatives: int


def saco_scores(pairs: Sequence[Pair], threshold: float = SCORE) -> SacoScores:
    """The official scores of pairs; nan where they cannot tell."""
    counts = Counts.of(pairs, threshold)
    at_75 = int(np.flatnonzero(np.isclose(IOUS, 0.75))[0])
    return SacoScores(
        float(np.mean(counts.cg_f1)), float(np.mean(counts.pm_f1)), counts.il_mcc,
        float(counts.cg_f1[0]), float(counts.cg_f1[at_75]), float(counts.pm_f1[0]), float(counts.pm_f1[at_75]),
        counts.false_positive_rate, counts.pairs_true + counts.pairs_missed, counts.pairs_false + counts.pairs_silent,
    )  # fmt: skip


def judged(pair: PhrasePair, predictions: Sequence[dict[str, Any]], threshold: float = SCORE) -> Pair:
    """Predictions of one (picture, phrase) beside the annotator whom they agree with best.

    Args:
        predictions: {"segmentation": COCO RLE, "score": 0..1} of this pair.

    Raises:
        ValueError: a mask is torn or of another picture.
    """
    ordered = sorted(predictions, key=lambda item: -item["score"])
    found = [compress(item["segmentation"], pair.size) for item in ordered]
    scores = np.array([item["score"] for item in ordered], float)
    answers = [_beside(pair, answer, found, scores) for answer in pair.answers]
    return most_favourable(answers, threshold)


def most_favourable(answers: Sequence[Pair], threshold: float = SCORE) -> Pair:
    """The annotator's pair with the best mean F1 over IOUS; an empty answer to an empty truth is perfect.

    Of equally good ones the first counts.
    """
    best = answers[0]
    for other in answers[1:]:
        ours, theirs = local_f1(best, threshold), local_f1(other, threshold)
        if theirs is None or (ours is not None and theirs > ours):
            best = other
    return best


def local_f1(pair: Pair, threshold: float) -> float | None:
    """Mean F1 over IOUS within one pair; None where nothing is there and nothing is found."""
    found = pair.found(threshold)
    if not found and not pair.truths:
        return None
    if not found or not pair.truths:
        return 0.0
    hits = (pair.matched(threshold)[:, None] >= IOUS).sum(0)
    precision, recall = hits / (found + 1e-4), hits / (pair.truths + 1e-4)
    return float(np.mean(2 * precision * recall / (precision + recall + 1e-4)))


def _beside(
    pair: PhrasePair, answer: Sequence[dict[str, Any]], found: list[dict[str, Any]], scores: NDArray[np.float64]
) -> Pair:
    truths = [compress(segmentation, pair.size) for segmentation in answer]
    ious = np.zeros((len(found), len(truths)))
    if found and truths:
        ious = np.asarray(coco.iou(found, truths, [0] * len(truths)))
    return Pair(pair.file_name, pair.phrase, NOUN, scores, ious)
