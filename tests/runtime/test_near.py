# SPDX-License-Identifier: Apache-2.0
"""Which window a track is looked for in, and when a look into it was not enough."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from esam3_core.runtime.near import MARGIN, SPLIT, runs_out, whole_frame, window_corner, window_side

GRIDS = st.integers(6, 40)
SHARES = st.floats(-0.3, 1.3)


@given(grid=GRIDS, x=SHARES, y=SHARES, width=st.floats(0, 1), height=st.floats(0, 1))
def test_a_window_lies_in_the_frame_and_holds_the_area_with_its_margin(grid, x, y, width, height):
    area = (x, y, x + width, y + height)
    corner = window_corner(area, grid)
    side = window_side(grid)
    fits = max(area[2] - area[0], area[3] - area[1]) * grid + 2 * MARGIN <= side
    assert (corner is not None) == fits
    if corner is None:
        return
    for first, low, high in zip(corner, (area[1], area[0]), (area[3], area[2]), strict=True):
        assert 0 <= first <= grid - side
        # Half a cell is lost where a window begins with a whole one.
        assert first <= max(0, low * grid - MARGIN + 0.5)
        assert first + side >= min(grid, high * grid + MARGIN - 0.5)


@given(data=st.data(), grid=GRIDS)
def test_masks_of_windows_lie_where_the_windows_do(data, grid):
    side = window_side(grid)
    places = st.integers(0, grid - side)
    corners = np.array(data.draw(st.lists(st.tuples(places, places), min_size=1, max_size=3)))
    masks = np.random.default_rng(0).normal(size=(len(corners), SPLIT * side, SPLIT * side)).astype(np.float32)
    whole = whole_frame(masks, corners, grid)
    assert whole.shape == (len(corners), SPLIT * grid, SPLIT * grid)
    for mask, into, (row, column) in zip(masks, whole, SPLIT * corners, strict=True):
        assert np.array_equal(into[row : row + SPLIT * side, column : column + SPLIT * side], mask)
        assert (into > 0).sum() == (mask > 0).sum()


def test_a_mask_that_reaches_the_border_of_its_window_may_go_on_beyond_it():
    grid = 12
    side = SPLIT * window_side(grid)
    masks = np.full((5, side, side), -5.0, np.float32)
    masks[:, 8:12, 8:12] = 5.0  # whole
    masks[1, 0, 9] = masks[2, 9, -1] = masks[3, 0, 9] = masks[4, -1, 9] = 5.0
    corners = np.array([[2, 2], [2, 2], [2, 2], [0, 2], [6, 2]])  # the last two end where the frame does
    assert runs_out(masks, corners, grid).tolist() == [False, True, True, False, False]
