# SPDX-License-Identifier: Apache-2.0
"""Intervals: few pictures say little."""

from __future__ import annotations

import math

import numpy as np
import pytest

from esam3_core.metrics.concepts import score
from esam3_core.metrics.intervals import intervals
from esam3_core.metrics.pairs import NOUN, Pair


def pictures(count: int) -> list[Pair]:
    """Every picture has one pair with an instance, found in three of four, and one without."""
    pairs = []
    for index in range(count):
        found = 0 if index % 4 == 0 else 1
        pairs.append(Pair(str(index), "cup", NOUN, np.ones(found), np.ones((found, 1))))
        pairs.append(Pair(str(index), "fork", NOUN, np.zeros(0), np.zeros((0, 0))))
    return pairs


def test_the_score_lies_inside_and_more_pictures_tell_more() -> None:
    widths = []
    for count in (20, 200):
        low, high = intervals(pictures(count), 0.5)["cg_f1"]
        assert low < score(pictures(count), 0.5).cg_f1 < high
        widths.append(high - low)
    assert widths[1] < 0.5 * widths[0]


def test_the_spread_of_a_share_is_that_of_the_binomial() -> None:
    """Recall 0.75 over 100 pictures has a deviation of 0.043; pmF1 at precision 1 is 2r / (1 + r)."""
    low, high = intervals(pictures(100), 0.5)["pm_f1"]
    ends = [2 * r / (1 + r) for r in (0.75 - 1.96 * 0.0433, 0.75 + 1.96 * 0.0433)]
    assert (low, high) == pytest.approx(ends, abs=0.015)


def test_what_pairs_cannot_tell_has_no_interval() -> None:
    positive = [pair for pair in pictures(8) if pair.truths]
    assert math.isnan(intervals(positive, 0.5)["false_positive_rate"][0])
