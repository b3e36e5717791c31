# SPDX-License-Identifier: Apache-2.0
"""The demo's score, on scenes small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.runtime import CroppedMask, Track
from esam3_ros.scoring import Scorer, distinct_tracks


def scene(*places: int) -> np.ndarray:
    """Instance k (from 1) is a square of 10 pixels at column places[k - 1]."""
    ids = np.zeros((20, 100), np.uint16)
    for number, place in enumerate(places, start=1):
        ids[5:15, place : place + 10] = number
    return ids


def instance(number: int, visible: float = 1.0, phrase: str = "cup") -> dict:
    return {"id": number, "phrases": [phrase], "visible": visible}


def track(number: int, place: int, concept: str = "cup", state: str = "tracked") -> Track:
    mask = np.zeros((20, 100), bool)
    mask[5:15, place : place + 10] = True
    return Track(number, concept, 0.9, state, (place, 5, 10, 10), CroppedMask.from_full(mask), 0.0, 0.0)


def test_perfect_tracks_score_one():
    scorer = Scorer(["cup"])
    scorer.add([track(1, 0), track(2, 50)], scene(0, 50), [instance(1), instance(2)])
    scores = {"mean_iou": 1.0, "id_switches": 0, "false_tracks": 0.0, "true_instances": 2.0, "scored_frames": 1}
    assert scorer.result() == scores


def test_an_instance_without_a_track_counts_zero():
    scorer = Scorer(["cup"])
    scorer.add([track(1, 0)], scene(0, 50), [instance(1), instance(2)])
    assert scorer.result()["mean_iou"] == 0.5


def test_one_track_is_not_credited_to_two_instances():
    scorer = Scorer(["cup"])
    scorer.add([track(1, 5)], scene(0, 10), [instance(1), instance(2)])
    assert scorer.result()["mean_iou"] == pytest.approx((5 / 15) / 2, abs=1e-4)


def test_hardly_visible_instances_are_neither_asked_for_nor_held_against_a_track():
    scorer = Scorer(["cup"])
    scorer.add([track(1, 0), track(2, 50)], scene(0, 50), [instance(1), instance(2, visible=0.1)])
    assert scorer.result()["mean_iou"] == 1.0 and scorer.result()["false_tracks"] == 0


def test_a_track_on_nothing_is_false_and_an_occluded_one_is_not_scored():
    scorer = Scorer(["cup"])
    scorer.add([track(1, 80), track(2, 0, state="occluded")], scene(0), [instance(1)])
    assert scorer.result()["false_tracks"] == 1 and scorer.result()["mean_iou"] == 0


def test_another_concept_is_another_matter():
    scorer = Scorer(["cup", "bowl"])
    scorer.add([track(1, 0, "bowl")], scene(0, 50), [instance(1, phrase="cup"), instance(2, phrase="bowl")])
    assert scorer.result()["mean_iou"] == 0


def test_another_id_on_the_same_instance_is_a_switch_once():
    scorer = Scorer(["cup"])
    for number in (1, 1, 2, 2, 1):
        scorer.add([track(number, 0)], scene(0), [instance(1)])
    assert scorer.id_switches == 2


def test_frames_without_instances_leave_the_mean_alone():
    scorer = Scorer(["cup"])
    assert scorer.result()["mean_iou"] is None
    scorer.add([], scene(), [])
    scorer.add([track(1, 0)], scene(0), [instance(1)])
    assert scorer.result()["mean_iou"] == 1.0


def test_distinct_tracks_counts_visible_frames():
    frames = [[track(1, 0)], [track(1, 0), track(2, 50)], [track(1, 0, state="occluded")]]
    assert [(found["id"], found["frames"]) for found in distinct_tracks(frames)] == [(1, 2), (2, 1)]
