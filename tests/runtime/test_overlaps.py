# SPDX-License-Identifier: Apache-2.0
"""Masks of one frame that claim the same pixels."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.runtime.overlaps import SUPPRESSED, overlap_matrix, without_overlap


def test_a_pixel_is_left_to_the_track_of_its_group_that_claims_it_most() -> None:
    logits = np.array([[[3.0, 1.0, -2.0]], [[1.0, 2.0, 1.0]], [[9.0, 9.0, 9.0]]], np.float32)
    cleared = without_overlap(logits, ["=cup", "=cup", "=mug"])
    assert (cleared > 0).tolist() == [[[True, False, False]], [[False, True, True]], [[True, True, True]]]
    assert cleared[0, 0, 1] == cleared[1, 0, 0] == SUPPRESSED


def test_what_nobody_claims_stays_as_it_was_drawn() -> None:
    # Memory is taught with soft masks: how sure a track is of what is not its object counts too.
    logits = np.array([[[2.0, -1.0, -3.0]], [[-2.0, -0.5, -4.0]]], np.float32)
    cleared = without_overlap(logits, ["", ""])
    np.testing.assert_array_equal(cleared[:, 0, 1:], logits[:, 0, 1:])
    np.testing.assert_array_equal(cleared[0], logits[0])


def test_overlap_is_intersection_over_union_and_nothing_for_empty_masks() -> None:
    masks = np.full((3, 2, 2), -1.0, np.float32)
    masks[0, 0, :] = masks[1, :, 0] = 1
    matrix = overlap_matrix(masks)
    assert matrix[0, 1] == pytest.approx(1 / 3) and matrix[0, 0] == 1 and matrix[2].max() == 0


def test_a_level_below_zero_settles_what_masks_that_reach_further_claim() -> None:
    logits = np.array([[[-0.2, -0.3]], [[-0.3, -0.1]]], np.float32)
    np.testing.assert_array_equal(without_overlap(logits, ["", ""]), logits)
    cleared = without_overlap(logits, ["", ""], level=-0.4)
    assert (cleared > -0.4).tolist() == [[[True, False]], [[False, True]]]
