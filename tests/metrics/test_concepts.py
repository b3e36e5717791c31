# SPDX-License-Identifier: Apache-2.0
"""Concept scores follow SAM 3's official rule."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from esam3_core.metrics.concepts import IOUS, average_precision, best_threshold, score, sweep
from esam3_core.metrics.pairs import HARD_NEGATIVE, NOUN, Pair, greedy_hits


def pair(scores: list[float], ious: list[list[float]], truths: int = 0) -> Pair:
    """A pair; `truths` is needed only where there is no detection."""
    table = np.array(ious, float).reshape(len(scores), -1 if scores else truths)
    return Pair("picture", "cup", NOUN, np.array(scores, float), table)


HIT = pair([0.9], [[0.92]])
MISS = pair([], [], truths=1)
SILENT = pair([], [])
ALARM = pair([0.8], [[]])


def test_perfect_answers_score_one() -> None:
    result = score([pair([0.9, 0.8], [[1.0, 0.0], [0.0, 1.0]]), SILENT], 0.5)
    assert result.cg_f1 == pytest.approx(1, abs=1e-3)
    assert result.ap == pytest.approx(1)
    assert (result.matched_iou, result.truth_iou, result.false_positive_rate) == (1, 1, 0)
    assert (result.positives, result.negatives, result.instances) == (1, 1, 2)


def test_each_iou_threshold_counts_the_masks_that_reach_it() -> None:
    result = score([HIT, SILENT], 0.5)  # 0.92 reaches nine of ten thresholds
    assert result.pm_f1 == pytest.approx(0.9, abs=1e-3)
    assert result.cg_f1_50 == pytest.approx(1, abs=1e-3)


def test_alarms_on_negatives_lower_mcc_and_leave_pm_f1_alone() -> None:
    """The official rule; an altered evaluator that counts them in pmF1 as well gives lower numbers."""
    quiet, loud = score([HIT, SILENT, SILENT], 0.5), score([HIT, SILENT, ALARM], 0.5)
    assert loud.pm_f1 == quiet.pm_f1
    assert loud.il_mcc < quiet.il_mcc
    assert loud.false_positive_rate == 0.5


def test_the_published_toy_case() -> None:
    """Half of the pairs have one instance, all found; 60 % of the others fire twice."""
    positive = [pair([0.9], [[1.0]]) for _ in range(50)]
    negative = [pair([0.9, 0.9], [[], []]) for _ in range(30)] + [SILENT] * 20
    result = score(positive + negative, 0.5)
    mcc = (50 * 20 - 30 * 0) / math.sqrt(80 * 50 * 50 * 20)
    assert result.il_mcc == pytest.approx(mcc)
    assert result.cg_f1 == pytest.approx(mcc, abs=1e-3)


def test_detections_below_the_threshold_are_not_there() -> None:
    weak = pair([0.4], [[0.99]])
    assert score([weak, SILENT], 0.5).recall_50 == 0
    assert score([weak, SILENT], 0.4).recall_50 == pytest.approx(1, abs=1e-3)


def test_one_instance_is_found_once() -> None:
    result = score([pair([0.9, 0.8], [[0.9], [0.95]]), SILENT], 0.5)
    assert result.precision_50 == pytest.approx(0.5, abs=1e-3)
    assert result.matched_iou == pytest.approx(0.95)


def test_matching_serves_all_instances_at_once() -> None:
    """Taking the best overlap first would leave the second instance without a detection."""
    both = pair([0.9, 0.8], [[0.9, 0.8], [0.85, 0.1]])
    assert sorted(both.matched(0.5)) == pytest.approx([0.8, 0.85])


def test_missed_instances_have_no_overlap() -> None:
    result = score([HIT, MISS], 0.5)
    assert result.matched_iou == pytest.approx(0.92)
    assert result.truth_iou == pytest.approx(0.46)


def test_what_pairs_cannot_tell_is_nan() -> None:
    only_negative, only_positive = score([SILENT, ALARM], 0.5), score([HIT], 0.5)
    assert math.isnan(only_negative.pm_f1) and math.isnan(only_negative.ap)
    assert math.isnan(only_positive.false_positive_rate) and math.isnan(only_positive.cg_f1)
    assert only_positive.pm_f1 > 0.8


def test_average_precision_of_a_hand_made_ranking() -> None:
    """Hit, false, hit of three instances: precision 1 up to recall 1/3, 2/3 up to recall 2/3, then 0."""
    ranking = [pair([0.9], [[0.9]]), pair([0.8], [[0.1]]), pair([0.7], [[0.9]])]
    expected = (34 * 1 + 33 * 2 / 3) / 101
    assert average_precision(ranking, 0.5) == pytest.approx(expected)


def test_a_pair_without_instance_adds_false_positives_to_the_ranking() -> None:
    assert average_precision([HIT, pair([0.95], [[]])], 0.5) == pytest.approx(0.5)


def test_greedy_hits_prefer_better_scores() -> None:
    assert greedy_hits(pair([0.9, 0.8], [[0.6], [0.9]]), 0.5).tolist() == [True, False]
    assert greedy_hits(pair([0.9, 0.8], [[0.4], [0.9]]), 0.5).tolist() == [False, True]


def test_the_best_threshold_is_found() -> None:
    pairs = [pair([0.6], [[1.0]]), Pair("other", "red cup", HARD_NEGATIVE, np.array([0.5]), np.zeros((1, 0)))]
    best = best_threshold(sweep(pairs, [0.4, 0.55, 0.7]))
    assert best is not None and best["threshold"] == 0.55
    assert best_threshold(sweep([SILENT], [0.5])) is None


@st.composite
def random_pairs(draw: st.DrawFn) -> list[Pair]:
    pairs = []
    for _ in range(draw(st.integers(1, 5))):
        found, truths = draw(st.integers(0, 4)), draw(st.integers(0, 3))
        unit = st.floats(0, 1, width=32)
        scores = np.sort(draw(arrays.arrays(float, found, elements=unit)))[::-1]
        ious = draw(arrays.arrays(float, (found, truths), elements=unit))
        pairs.append(Pair("picture", "cup", NOUN, scores, ious))
    return pairs


@settings(deadline=None)
@given(random_pairs(), st.floats(0, 1))
def test_scores_stay_in_range_and_agree_with_brute_force(pairs: list[Pair], threshold: float) -> None:
    result = score(pairs, threshold)
    for value in (result.pm_f1, result.ap, result.precision_50, result.recall_50, result.truth_iou):
        assert math.isnan(value) or 0 <= value <= 1
    assert math.isnan(result.il_mcc) or -1 <= result.il_mcc <= 1
    assert math.isnan(result.cg_f1) or result.cg_f1 == pytest.approx(result.pm_f1 * result.il_mcc)
    for one in pairs:
        assert one.matched(threshold).sum() == pytest.approx(best_total(one, threshold))


def best_total(one: Pair, threshold: float) -> float:
    """Greatest total IoU of any one-to-one matching, by trying them all."""
    ious = one.ious[one.scores >= threshold]
    if ious.shape[0] < ious.shape[1]:
        ious = ious.T
    orders = itertools.permutations(range(ious.shape[0]), ious.shape[1])
    return max(sum(ious[row, column] for column, row in enumerate(order)) for order in orders)


def test_iou_thresholds_are_those_of_coco() -> None:
    assert IOUS.round(2).tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
