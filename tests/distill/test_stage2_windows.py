# SPDX-License-Identifier: Apache-2.0
"""Stage 2 learns to look into windows: about where objects were, and knowing when they are not there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from esam3_core.config import StudentConfig
from esam3_core.distill.stage2_batches import ClipBatch
from esam3_core.distill.stage2_loop import travel
from esam3_core.distill.stage2_losses import memory_losses
from esam3_core.distill.stage2_windows import CELL, WindowPlan, plan_windows
from esam3_core.nn.memory import Memory
from esam3_core.runtime.near import window_side
from tests.nn.test_memory import build, student_with

SIZE = 192
SIDE = window_side(SIZE // CELL)


def boxes(*places: tuple[int, int, int] | None) -> np.ndarray:
    """Masks [F, 1, S, S] of a square (left, top, side) in each frame; None = it does not show."""
    masks = np.zeros((len(places), 1, SIZE, SIZE), np.bool_)
    for mask, place in zip(masks, places, strict=True):
        if place:
            left, top, side = place
            mask[0, top : top + side, left : left + side] = True
    return masks


def plans(masks: np.ndarray) -> list[WindowPlan]:
    given = np.zeros(masks.shape[:2], np.bool_)
    return [plan_windows(masks, given, np.random.default_rng(seed)) for seed in range(40)]


def test_a_window_is_about_where_the_object_was_and_holds_it_now() -> None:
    found = plans(boxes((80, 96, 20), (90, 100, 20)))
    near = [plan for plan in found if plan.near[1, 0]]
    assert 8 < len(near) < 32  # one half
    assert not any(plan.near[0].any() or plan.missed.any() for plan in found)
    for plan in near:
        row, column = CELL * plan.corner[1, 0]
        assert column <= 90 < 110 <= column + CELL * SIDE
        assert row <= 100 < 120 <= row + CELL * SIDE
    assert len({tuple(plan.corner[1, 0]) for plan in near}) > 1  # not to the pixel


@pytest.mark.parametrize(
    ("places", "near", "missed"),
    [
        (((20, 20, 20), None), True, False),  # hidden: in the window as everywhere
        (((20, 20, 20), (160, 160, 20)), True, True),  # jumped: not in the window
        (((20, 20, 20), (80, 20, 30)), False, False),  # half of it: the runtime looks everywhere
        ((None, (20, 20, 20)), False, False),  # where it was is not known
        (((10, 10, 120), (10, 10, 120)), False, False),  # larger than a window
    ],
)
def test_who_is_looked_for_in_a_window(places: tuple, near: bool, missed: bool) -> None:
    found = plans(boxes(*places))
    assert any(plan.near[1, 0] for plan in found) == near
    assert any(plan.missed[1, 0] for plan in found) == missed


def test_nobody_who_is_shown_from_outside_is() -> None:
    masks = boxes((80, 96, 20), (80, 96, 20))
    given = np.ones(masks.shape[:2], np.bool_)
    assert not any(plan_windows(masks, given, np.random.default_rng(seed)).near.any() for seed in range(10))


def batch_of(config: StudentConfig, near: torch.Tensor) -> ClipBatch:
    """Two tracks of one clip of three frames."""
    rng = torch.Generator().manual_seed(0)
    grid, width, (frames, tracks) = config.grid, config.width, near.shape
    masks = torch.zeros(frames, tracks, 4 * grid, 4 * grid)
    masks[:, 0, 16:24, 16:24] = masks[:, 1, 24:30, 20:30] = 1.0
    given = torch.zeros(frames, tracks, dtype=torch.bool)
    given[0] = True
    every = torch.ones(frames, tracks, dtype=torch.bool)
    return ClipBatch(
        p16=torch.randn(frames, 1, width, grid, grid, generator=rng).half(),
        p8=torch.randn(frames, 1, width // 4, 2 * grid, 2 * grid, generator=rng).half(),
        p4=torch.randn(frames, 1, width // 8, 4 * grid, 4 * grid, generator=rng).half(),
        clip=torch.zeros(tracks, dtype=torch.int64), masks=masks, visible=every, known=every, given=given,
        shown=masks, points=torch.zeros(tracks, 4, 2), labels=torch.full((tracks, 4), -1), written=every,
        near=near, corner=torch.full((frames, tracks, 2), 3), taught=None,
        thumbs=np.zeros((frames, 1, SIZE // 2, SIZE // 2, 3), np.uint8),
    )  # fmt: skip


@pytest.fixture
def config(tiny_config: StudentConfig) -> StudentConfig:
    return dataclasses.replace(student_with(tiny_config, near=True), size=SIZE)


@pytest.fixture
def memory(config: StudentConfig) -> Memory:
    return build(config)


@pytest.mark.parametrize("who", [(True, False), (True, True)])
def test_only_a_track_in_a_window_sees_something_else(
    config: StudentConfig, memory: Memory, who: tuple[bool, bool]
) -> None:
    nobody = torch.zeros(3, 2, dtype=torch.bool)
    near = nobody.clone()
    near[1] = torch.tensor(who)
    with torch.no_grad():
        apart, whole = travel(memory, batch_of(config, near)), travel(memory, batch_of(config, nobody))
    window = slice(4 * 3, 4 * (3 + SIDE))
    for track, in_window in enumerate(who):
        torch.testing.assert_close(apart.masks[0, track], whole.masks[0, track])
        outside = apart.masks[1, track].clone()
        outside[window, window] = -10.0
        assert bool((outside == -10.0).all()) == in_window
        if not in_window:
            torch.testing.assert_close(apart.masks[1, track], whole.masks[1, track])


def test_what_is_seen_in_a_window_teaches_the_memory(config: StudentConfig, memory: Memory) -> None:
    near = torch.zeros(3, 2, dtype=torch.bool)
    near[1:] = True
    batch = batch_of(config, near)
    memory.train()
    sum(memory_losses(travel(memory, batch), batch).values()).backward()  # type: ignore[union-attr]
    gradients = {name: value.grad for name, value in memory.named_parameters() if value.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
    assert gradients["attention.layers.0.memory_attention.query.weight"].abs().max() > 0
