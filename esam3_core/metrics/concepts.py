# SPDX-License-Identifier: Apache-2.0
"""Concept scores over pairs: cgF1, pmF1, IL_MCC by SAM 3's official rule, and what they leave out.

The official rule: false positives on pairs without an instance count in IL_MCC only, never in pmF1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from esam3_core.metrics.pairs import Pair, greedy_hits

IOUS = np.linspace(0.5, 0.95, 10)
"""IoU thresholds .50:.05:.95."""

SAME_INSTANCE = 0.5  # IoU from which a detection shows an instance
RECALLS = np.linspace(0, 1, 101)  # at which COCO samples precision


@dataclass(frozen=True)
class ConceptScores:
    """Scores of a set of pairs at one score threshold; all in 0..1, nan where the pairs cannot tell."""

    cg_f1: float  # pmF1 x IL_MCC, mean over IOUS
    cg_f1_50: float  # at IoU 0.5
    pm_f1: float  # F1 of instances in pairs that have one, mean over IOUS
    il_mcc: float  # -1..1, correlation of "found something" with "something is there"
    precision_50: float  # of detections in pairs that have an instance, at IoU 0.5
    recall_50: float
    matched_iou: float  # mean IoU of detections with the instances they show (IoU >= 0.5)
    truth_iou: float  # mean IoU over all instances, 0 for those missed
    false_positive_rate: float  # share of the pairs without an instance in which something is found
    ap: float  # average precision, mean over IOUS; of every detection, whatever its score
    ap_50: float  # at IoU 0.5
    positives: int  # pairs with an instance
    negatives: int  # pairs without one
    instances: int


def score(pairs: Sequence[Pair], threshold: float) -> ConceptScores:
    """All scores of `pairs` when detections below `threshold` (0..1) are ignored."""
    counts = Counts.of(pairs, threshold)
    positive = [pair for pair in pairs if pair.truths]
    matched = np.concatenate([pair.matched(threshold) for pair in positive] or [np.zeros(0)])
    shown = matched[matched >= SAME_INSTANCE]
    instances = sum(pair.truths for pair in positive)
    aps = [average_precision(pairs, iou) for iou in IOUS] if positive else [np.nan]
    return ConceptScores(
        cg_f1=float(np.mean(counts.cg_f1)),
        cg_f1_50=float(counts.cg_f1[0]),
        pm_f1=float(np.mean(counts.pm_f1)),
        il_mcc=counts.il_mcc,
        precision_50=float(counts.precision[0]),
        recall_50=float(counts.recall[0]),
        matched_iou=float(shown.mean()) if shown.size else np.nan,
        truth_iou=float(matched.sum() / instances) if instances else np.nan,
        false_positive_rate=counts.false_positive_rate,
        ap=float(np.mean(aps)),
        ap_50=float(aps[0]),
        positives=len(positive),
        negatives=len(pairs) - len(positive),
        instances=instances,
    )


@dataclass(frozen=True)
class Counts:
    """The official counts of a set of pairs at one score threshold."""

    true: NDArray[np.int64]  # [10] instances found, per IoU of IOUS
    false: NDArray[np.int64]  # [10] detections that show nothing, in pairs that have an instance
    missed: NDArray[np.int64]  # [10]
    pairs_true: int  # pairs with an instance where something is found
    pairs_missed: int
    pairs_false: int  # pairs without an instance where something is found
    pairs_silent: int

    @classmethod
    def of(cls, pairs: Sequence[Pair], threshold: float) -> Counts:
        """Count."""
        true, false, missed = (np.zeros(len(IOUS), np.int64) for _ in range(3))
        votes = np.zeros((2, 2), np.int64)  # [something there, something found]
        for pair in pairs:
            found = pair.found(threshold)
            votes[int(pair.truths > 0), int(found > 0)] += 1
            if pair.truths:
                hits = (pair.matched(threshold)[:, None] >= IOUS).sum(0)
                true += hits
                false += found - hits
                missed += pair.truths - hits
        return cls(true, false, missed, int(votes[1, 1]), int(votes[1, 0]), int(votes[0, 1]), int(votes[0, 0]))

    @property
    def precision(self) -> NDArray[np.float64]:
        """[10], nan without a pair that has an instance."""
        return self._known(self.true / (self.true + self.false + 1e-4))

    @property
    def recall(self) -> NDArray[np.float64]:
        """[10], nan without a pair that has an instance."""
        return self._known(self.true / (self.true + self.missed + 1e-4))

    @property
    def pm_f1(self) -> NDArray[np.float64]:
        """Positive micro F1: [10], nan without a pair that has an instance."""
        return 2 * self.precision * self.recall / (self.precision + self.recall + 1e-4)

    @property
    def il_mcc(self) -> float:
        """Image-level Matthews correlation; nan unless there are pairs both with and without an instance."""
        tp, fn, fp, tn = (int(n) for n in (self.pairs_true, self.pairs_missed, self.pairs_false, self.pairs_silent))
        if not (tp + fn) or not (fp + tn):
            return float("nan")
        spread = (float(tp + fp) * float(tp + fn) * float(tn + fp) * float(tn + fn)) ** 0.5
        return (tp * tn - fp * fn) / (spread + 1e-6)

    @property
    def cg_f1(self) -> NDArray[np.float64]:
        """[10]."""
        return self.pm_f1 * self.il_mcc

    @property
    def false_positive_rate(self) -> float:
        """Share of the pairs without an instance in which something is found; nan if there are none."""
        silent = self.pairs_false + self.pairs_silent
        return self.pairs_false / silent if silent else float("nan")

    def _known(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self.pairs_true + self.pairs_missed else np.full(len(IOUS), np.nan)


def average_precision(pairs: Sequence[Pair], iou: float) -> float:
    """COCO's 101-point average precision of all detections of `pairs` together; nan without an instance."""
    instances = sum(pair.truths for pair in pairs)
    if not instances:
        return float("nan")
    scores = np.concatenate([pair.scores for pair in pairs])
    hits = np.concatenate([greedy_hits(pair, iou) for pair in pairs])
    if not scores.size:
        return 0.0
    hits = hits[np.argsort(-scores, kind="stable")]
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(true / instances, RECALLS, side="left")
    return float(np.append(envelope, 0.0)[np.minimum(places, len(envelope))].mean())


def sweep(pairs: Sequence[Pair], thresholds: Sequence[float]) -> list[dict[str, float]]:
    """cgF1, pmF1, IL_MCC and the false-positive rate at each score threshold."""
    rows = []
    for threshold in thresholds:
        counts = Counts.of(pairs, threshold)
        rows.append(
            {
                "threshold": float(threshold),
                "cg_f1": float(np.mean(counts.cg_f1)),
                "pm_f1": float(np.mean(counts.pm_f1)),
                "il_mcc": counts.il_mcc,
                "false_positive_rate": counts.false_positive_rate,
            }
        )
    return rows


def best_threshold(rows: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The row of a sweep with the best cgF1, or the best pmF1 where there is no cgF1; None if there is neither.

    Of equally good ones that nearest to 0.5.
    """
    for name in ("cg_f1", "pm_f1"):
        known = [row for row in rows if np.isfinite(row[name])]
        if known:
            return max(known, key=lambda row: (round(row[name], 4), -abs(row["threshold"] - 0.5)))
    return None
