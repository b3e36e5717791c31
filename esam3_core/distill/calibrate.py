# SPDX-License-Identifier: Apache-2.0
"""Adjust a trained student's scores so that 0.5 is the right threshold: good cgF1, and few false positives.

Focal losses leave a student unsure of itself, and a decoder that has seen few pictures corrects its proposals for the
worse. Five numbers are chosen on pictures the student never trained on. Four end up inside the exported graph: how much
the proposals' logits count beside the alignment, how much of the decoder's correction counts, and what is added to
every query's logit and to the presence logit. The fifth, the `falloff` of the bundle's detector, lets "is it there"
and "is there another one" have thresholds of their own: the best query alone answers the first. (A slope for presence
was tried: where most is found it makes a third fewer false positives, with few of them it gains nothing, and AP@50
falls by four points.)
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import nn

from esam3_core.distill.calibration_answers import Answers, weigh
from esam3_core.nn.student import Student
from esam3_core.runtime.detector import fall_off

DIGITS = 4  # of a cgF1 that count
MOST_FALSE = 0.06  # share of the pairs without an instance in which something may be found: cgF1 alone allows 8 %
SHIFTS = np.arange(-4.0, 4.01, 0.25)  # candidates for both logits
FALLOFFS = (0.0, 0.25, 0.5, 0.75, 1.0)  # candidates
UNCHANGED = (1.0, 1.0, 0.0, 0.0, 0.0)  # the adjustment that changes nothing, in the order of Calibration

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """What is done to the logits, and the cgF1 (0..1) at 0.5 before and after."""

    dense: float  # weight of the proposals' logits; the alignment's is 1
    correction: float  # share of the decoder's correction that counts
    query: float
    presence: float
    falloff: float  # of DetectorConfig
    cg_f1_before: float
    cg_f1_after: float


def fit_shifts(answers: dict[tuple[float, float], Answers]) -> Calibration:
    """Of the adjustments with few enough false positives the one with the best cgF1 at a score of 0.5; of equally good
    ones, that which changes the student least.

    A student that is right often enough and that none makes better stays as it is.
    """
    before = cg_f1(answers[1.0, 1.0], 0.0, 0.0)
    options = [
        (*weights, float(query), float(presence), falloff)
        for weights, query, presence, falloff in product(answers, SHIFTS, SHIFTS, FALLOFFS)
    ]
    # The falloff has no say in what is found at all.
    false = {o: false_share(answers[o[:2]], *o[2:]) for o in {option[:4] for option in options}}
    least = max(MOST_FALSE, min(false.values()))
    values = {o: round(cg_f1(answers[o[:2]], *o[2:]), DIGITS) for o in options if false[o[:4]] <= least}
    chosen = max(values, key=lambda option: (values[option], *_change(option)))
    if chosen == UNCHANGED:
        logger.warning("calibration changes nothing: no adjustment of the scores is better than a cgF1 of %.4f", before)
    dense, correction, query, presence, falloff = chosen
    return Calibration(dense, correction, query, presence, falloff, before, values[chosen])


def _change(option: tuple[float, ...]) -> tuple[float, ...]:
    """How little (weight of proposals, share of correction, shifts of queries and presence, falloff) change a
    student."""
    dense, correction, query, presence, falloff = option
    return -abs(query) - abs(presence), -abs(dense - 1), correction, -falloff


def scored(answers: Answers, query: float, presence: float, falloff: float = 0.0) -> np.ndarray:
    """Which queries score 0.5 or more once the logits are shifted: bool [C, Q]."""
    scores = _sigmoid(fall_off(answers.logits, falloff) + query) * _sigmoid(answers.presence + presence)[:, None]
    return np.asarray(scores >= 0.5)


def false_share(answers: Answers, query: float, presence: float) -> float:
    """Share of the pairs without an instance in which something is found."""
    found = scored(answers, query, presence)[answers.truths == 0]
    return float(np.asarray(found.any(1)).mean()) if len(found) else 0.0


def cg_f1(answers: Answers, query: float, presence: float, falloff: float = 0.0) -> float:
    """cgF1, 0..1, of queries that score 0.5 or more once the logits are shifted (official rule).

    How well masks are found where the concept is, one F1 over the instances of all these pairs, times how well "found
    something" tells where it is.
    """
    kept = scored(answers, query, presence, falloff)
    there, found = answers.truths > 0, np.asarray(kept.any(1))
    if not there.any():
        return 0.0
    hits = float((kept * answers.right)[there].sum())
    f1 = 2 * hits / float(kept[there].sum() + answers.truths[there].sum())
    return f1 * _correlation(there, found)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Matthews correlation of two bool [C]; 0 where either is always the same."""
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread else 0.0


@torch.no_grad()
def apply_shifts(student: Student, calibration: Calibration) -> None:
    """Build the adjustment into the student's last layers, in place."""
    weigh(student.detector.proposals.score, calibration.dense)
    score = student.detector.decoder.score
    weigh(score, calibration.correction)
    score.bias.add_(calibration.query)
    last = student.detector.decoder.presence.layers[-1]
    assert isinstance(last, nn.Linear)
    last.bias.add_(calibration.presence)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
