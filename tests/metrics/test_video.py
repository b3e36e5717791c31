# SPDX-License-Identifier: Apache-2.0
"""J&F of DAVIS and identity switches."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.metrics.masks import mask_iou, share_inside
from esam3_core.metrics.video import TrackScorer, boundary_accuracy, contour, region_similarity, score_masks
from esam3_core.runtime.masks import CroppedMask
from tests.colour_bundle import disc

SIZE = (120, 160)
EMPTY = np.zeros(SIZE, bool)


def blob(x: float, y: float = 60, radius: float = 20) -> np.ndarray:
    return disc(x, y, radius, SIZE)


def crop(x: float) -> CroppedMask:
    return CroppedMask.from_full(blob(x))


def test_the_same_mask_scores_one() -> None:
    assert region_similarity(blob(50), blob(50)) == boundary_accuracy(blob(50), blob(50)) == 1


def test_two_empty_masks_agree_and_an_empty_one_against_a_full_one_does_not() -> None:
    assert region_similarity(EMPTY, EMPTY) == boundary_accuracy(EMPTY, EMPTY) == 1
    assert region_similarity(EMPTY, blob(50)) == boundary_accuracy(EMPTY, blob(50)) == 0
    assert boundary_accuracy(blob(50), EMPTY) == 0


def test_iou_of_half_a_mask_is_a_half() -> None:
    half = blob(50).copy()
    half[60:] = False
    assert mask_iou(half, blob(50)) == pytest.approx(0.5, abs=0.03)


def test_masks_of_other_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="resize"):
        mask_iou(EMPTY, np.zeros((10, 10), bool))


def test_a_contour_within_reach_counts_and_one_beyond_does_not() -> None:
    """0.8 % of a diagonal of 200 pixels is 1.6, rounded up to 2 pixels."""
    assert boundary_accuracy(blob(50, radius=21), blob(50, radius=20)) == 1
    assert boundary_accuracy(blob(50, radius=26), blob(50, radius=20)) == 0


def test_a_contour_is_one_pixel_wide() -> None:
    mask = np.zeros((10, 10), bool)
    mask[3:7, 3:7] = True
    assert contour(mask).sum() == 16
    assert not contour(np.ones((10, 10), bool)).any()


def test_scores_of_a_clip_are_means_over_frames() -> None:
    result = score_masks([(blob(50), blob(50)), (EMPTY, blob(50))])
    assert (result.j, result.f, result.j_and_f, result.lost, result.frames) == (0.5, 0.5, 0.5, 1, 2)
    with pytest.raises(ValueError, match="no frame"):
        score_masks([])


def test_share_inside_a_region() -> None:
    region = np.zeros(SIZE, np.uint8)
    region[:, :50] = 1
    assert share_inside(CroppedMask.from_full(blob(50)), region) == pytest.approx(0.49, abs=0.02)
    assert share_inside(CroppedMask.empty(SIZE), region) == 0


def test_a_followed_object_has_no_switch() -> None:
    scorer = TrackScorer()
    for x in range(30, 100, 5):
        scorer.add({1: crop(x), 2: crop(x + 50)}, {7: crop(x), 9: crop(x + 50)})
    result = scorer.result()
    assert (result.id_switches, result.false_tracks, result.objects, result.frames) == (0, 0, 2, 14)
    assert result.mean_iou == result.coverage == 1


def test_ids_that_change_places_are_two_switches() -> None:
    scorer = TrackScorer()
    scorer.add({1: crop(40), 2: crop(110)}, {7: crop(40), 9: crop(110)})
    scorer.add({1: crop(40), 2: crop(110)}, {9: crop(40), 7: crop(110)})
    assert scorer.result().id_switches == 2


def test_a_new_id_after_a_gap_is_a_switch_and_the_old_one_is_not() -> None:
    for later, switches in ((7, 0), (8, 1)):
        scorer = TrackScorer()
        scorer.add({1: crop(40)}, {7: crop(40)})
        scorer.add({1: crop(40)}, {})
        scorer.add({1: crop(40)}, {later: crop(40)})
        assert scorer.result().id_switches == switches
        assert scorer.result().coverage == pytest.approx(2 / 3)


def test_an_id_stays_with_its_object_though_another_overlaps_more() -> None:
    scorer = TrackScorer()
    scorer.add({1: crop(40)}, {7: crop(40)})
    scorer.add({1: crop(40)}, {7: crop(45), 8: crop(40)})
    result = scorer.result()
    assert (result.id_switches, result.false_tracks) == (0, 1)


def test_tracks_of_nothing_are_false() -> None:
    scorer = TrackScorer()
    scorer.add({}, {3: crop(40)})
    assert scorer.result().false_tracks == 1
