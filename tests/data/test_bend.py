# SPDX-License-Identifier: Apache-2.0
"""A picture is bent with its masks: nothing is torn, folded or left behind."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from esam3_core.data.bend import bend, sheet

SIDES = st.integers(16, 200)
SEEDS = st.integers(0, 10_000)


def disc(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return ((rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (min(height, width) / 3) ** 2).astype(np.uint8)


@settings(max_examples=80, deadline=None)
@given(height=SIDES, width=SIDES, seed=SEEDS)
def test_the_sheet_never_folds_and_its_borders_stay(height: int, width: int, seed: int) -> None:
    taken = sheet(height, width, np.random.default_rng(seed))
    rows, columns = np.mgrid[:height, :width]
    moved = taken - np.stack([columns, rows])
    assert taken.shape == (2, height, width) and taken.dtype == np.float32
    assert np.abs(moved).max() < 0.25 * min(height, width)
    border = np.concatenate([moved[:, 0], moved[:, -1], moved[..., 0], moved[..., -1]], 1)
    assert np.abs(border).max() <= np.abs(moved).max() / 2 + 1e-4  # half a pixel row within the outermost points
    along_x, along_y = np.diff(taken, axis=2)[:, :-1], np.diff(taken, axis=1)[..., :-1]
    turned = along_x[0] * along_y[1] - along_x[1] * along_y[0]
    assert np.mean(turned > 0) > 0.999


@settings(max_examples=60, deadline=None)
@given(height=st.integers(40, 160), width=st.integers(40, 160), seed=SEEDS)
def test_picture_and_masks_are_bent_alike(height: int, width: int, seed: int) -> None:
    mask = disc(height, width)
    image = np.repeat(mask[..., None] * 255, 3, -1)
    picture, (bent,), ignored = bend(image, mask[None], 1 - mask, np.random.default_rng(seed))
    assert ignored is not None and set(np.unique(bent)) <= {0, 1}
    assert np.mean((picture[..., 0] > 127) != (bent > 0)) < 0.02  # they may differ along the border
    assert np.mean(ignored == bent) < 0.02
    assert 0.5 * mask.sum() < bent.sum() < 1.7 * mask.sum()


def test_outlines_change() -> None:
    mask = disc(120, 160)
    _, masks, ignored = bend(np.zeros((120, 160, 3), np.uint8), mask[None], None, np.random.default_rng(1))
    assert (masks[0] != mask).any() and ignored is None


def test_a_picture_without_things_is_bent_too() -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    picture, masks, _ = bend(image, np.zeros((0, 60, 80), np.uint8), None, np.random.default_rng(2))
    assert masks.shape == (0, 60, 80) and (picture != image).any()
