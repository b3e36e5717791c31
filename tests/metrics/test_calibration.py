# SPDX-License-Identifier: Apache-2.0
"""Calibration: do scores mean what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from esam3_core.metrics.calibration import affine_calibration, outcomes, reliability
from esam3_core.metrics.pairs import NOUN, Pair


def test_honest_scores_have_no_error() -> None:
    scores = np.repeat([0.25, 0.75], 100)
    hits = np.concatenate([np.arange(100) < 25, np.arange(100) < 75])
    curve = reliability(scores, hits)
    assert curve.error == pytest.approx(0)
    assert (curve.score, curve.share, curve.count) == ([0.25, 0.75], [0.25, 0.75], [100, 100])


def test_boasting_scores_have_their_gap_as_error() -> None:
    assert reliability(np.full(10, 0.9), np.arange(10) < 4).error == pytest.approx(0.5)


def test_without_detections_nothing_is_known() -> None:
    curve = reliability(np.zeros(0), np.zeros(0, bool))
    assert math.isnan(curve.error) and curve.count == []
    assert affine_calibration(np.zeros(0), np.zeros(0, bool)) is None


def test_a_score_of_one_has_a_bin() -> None:
    assert reliability(np.array([1.0]), np.array([True])).count == [1]


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.5, 1.0), (2.0, -1.5)])
def test_affine_calibration_recovers_what_distorted_the_scores(scale: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 20_000)
    hits = rng.random(20_000) < 1 / (1 + np.exp(-(scale * logits + shift)))
    found = affine_calibration(1 / (1 + np.exp(-logits)), hits)
    assert found == pytest.approx((scale, shift), abs=0.08)


def test_affine_calibration_stays_finite_where_scores_separate() -> None:
    found = affine_calibration(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert found is not None and all(math.isfinite(value) for value in found)


def test_outcomes_count_an_instance_once() -> None:
    pair = Pair("picture", "cup", NOUN, np.array([0.9, 0.8]), np.array([[0.7], [0.9]]))
    scores, hits = outcomes([pair])
    assert scores.tolist() == [0.9, 0.8] and hits.tolist() == [True, False]
