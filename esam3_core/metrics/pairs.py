# SPDX-License-Identifier: Apache-2.0
"""The unit that concepts are measured in: one picture, one phrase.

Masks are reduced to their overlaps at once, so a whole data set fits in memory and every threshold can be tried on it
without running the student again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

NOUN, ATTRIBUTE, HARD_NEGATIVE = "noun", "attribute", "hard negative"
KINDS = (NOUN, ATTRIBUTE, HARD_NEGATIVE)
"""A noun (there or not); a noun with an attribute that is there; a phrase that looks right but matches nothing."""


@dataclass(frozen=True, eq=False)
class Pair:
    """What the student found for a phrase in a picture, beside what is there.

    Args:
        key: of the picture.
        phrase: that was asked.
        kind: one of KINDS.
        scores: [n] of the detections, best first, 0..1.
        ious: [n, m] mask IoU of each detection with each of the m instances that the phrase is true of.
    """

    key: str
    phrase: str
    kind: str
    scores: NDArray[np.float64]
    ious: NDArray[np.float64]

    @property
    def truths(self) -> int:
        """Instances that the phrase is true of."""
        return int(self.ious.shape[1])

    def matched(self, threshold: float) -> NDArray[np.float64]:
        """IoUs of the best one-to-one matching of instances with detections of at least this score: [min(n', m)]."""
        ious = self.ious[self.scores >= threshold]
        if not ious.size:
            return np.zeros(0)
        rows, columns = linear_sum_assignment(-ious)
        return np.asarray(ious[rows, columns])

    def found(self, threshold: float) -> int:
        """Detections of at least this score."""
        return int(np.count_nonzero(self.scores >= threshold))


def of_kind(pairs: Iterable[Pair], *kinds: str) -> list[Pair]:
    """The pairs of these kinds."""
    return [pair for pair in pairs if pair.kind in kinds]


def by_phrase(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Phrase -> its pairs, phrases sorted."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.phrase, []).append(pair)
    return dict(sorted(groups.items()))


def greedy_hits(pair: Pair, iou: float) -> NDArray[Any]:
    """Which detections, best first, find an instance that no better one has found: bool [n] (COCO's matching)."""
    free = np.ones(pair.truths, bool)
    hits = np.zeros(len(pair.scores), bool)
    for row, ious in enumerate(pair.ious):
        open_ious = np.where(free, ious, -1.0)
        if open_ious.size and open_ious.max() >= iou:
            free[int(open_ious.argmax())] = False
            hits[row] = True
    return hits
