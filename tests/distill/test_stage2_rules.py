# SPDX-License-Identifier: Apache-2.0
"""The rules of stage 2: how objects are shown, what is remembered, and what masks and pointers cost."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from esam3_core.config import StudentConfig
from esam3_core.config_fit import FitConfig
from esam3_core.config_stage2 import Stage2Config
from esam3_core.distill.stage2_batches import choose_path, prompt_of, roughened
from esam3_core.distill.stage2_cache import box_corners
from esam3_core.distill.stage2_loop import Recollection
from esam3_core.distill.stage2_losses import hard_iou, mask_terms, pointer_term
from esam3_core.nn.memory import Memory
from esam3_core.runtime.memory import MemoryBank, MemoryShape
from tests.distill.teachers import MEMORY


def test_paths_stay_in_the_clip_and_turn_round_at_its_ends() -> None:
    rng = np.random.default_rng(0)
    for length in (1, 2, 5, 12):
        for _ in range(40):
            path = choose_path(length, 8, rng)
            assert len(path) == 8
            assert set(path) <= set(range(length))
            steps = np.abs(np.diff(path))
            assert (steps <= 3).all()
            assert length < 3 or (steps > 0).sum() >= 3


@pytest.mark.parametrize("boxed", [True, False])
def test_prompts_show_the_object(boxed: bool) -> None:
    mask = np.zeros((40, 40), np.bool_)
    mask[10:30, 5:20] = True
    rng = np.random.default_rng(0)
    for _ in range(20):
        points, labels = prompt_of(mask, boxed, rng)
        assert ((points >= 0) & (points <= 1)).all()
        if boxed:
            assert labels.tolist() == [2, 3]
            assert np.abs(points - box_corners(mask)).max() < 0.1
        else:
            x, y = (points[0] * 40).astype(int)
            assert mask[y, x]
            assert labels[0] == 1


@pytest.mark.parametrize("side", [1, 3, 7, 14])
def test_a_rough_mask_is_still_the_object(side: int) -> None:
    """Large things get a rough edge; of small ones, whose edge is all there is, the true mask is kept."""
    rng = np.random.default_rng(0)
    mask = np.zeros((20, 20), np.float32)
    mask[:side, 4 : 4 + side] = 1  # at the border, beyond which nothing comes back on the other side
    rough = [roughened(mask, rng) for _ in range(40)]
    ious = [np.minimum(one, mask).sum() / np.maximum(one, mask).sum() for one in rough]
    assert min(ious) >= 0.75 and all(one[19].max() == 0 for one in rough)
    assert (min(ious) < 1) == (side >= 7)


@pytest.mark.parametrize("anchors", [0, 1, 2])
def test_training_remembers_by_the_rules_of_the_robot(anchors: int, tiny_config: StudentConfig) -> None:
    """After any history, both memories hold the same slots and pointers, with the same ages."""
    own = dataclasses.replace(MEMORY, anchors=anchors, ring=2, pointers=3)
    student = dataclasses.replace(tiny_config, memory=own)
    memory, tracks = Memory(student), 3
    bank = MemoryBank(MemoryShape.of(own, student.size, student.width), tracks)
    keys = [bank.open() for _ in range(tracks)]
    ours = Recollection(memory, tracks)
    rng = np.random.default_rng(anchors)
    for frame in range(9):
        bank.tick()
        latents = torch.randn(tracks, own.tokens(student.size), own.width)
        pointers = torch.randn(tracks, student.width)
        wanted = rng.random(tracks) < 0.7 if frame else np.ones(tracks, bool)
        anchor = rng.random(tracks) < 0.4 if frame else np.ones(tracks, bool)
        for row in np.flatnonzero(wanted):
            bank.write(keys[row], latents[row].numpy(), bool(anchor[row]))
            bank.point(keys[row], pointers[row].numpy(), bool(anchor[row]))
        ours.write(latents, pointers, wanted.tolist(), anchor.tolist())
        bank.tick()
        theirs, read = bank.read(keys, tracks), ours.read()
        bank._frame -= 1  # the next round ticks again
        for row in range(tracks):
            for names in (
                ("memory", "memory_age", "memory_used"), ("pointers", "pointer_age", "pointer_used"),
            ):  # fmt: skip
                robot = [theirs[name][row] for name in names]
                assert _held(*robot) == _held(*(getattr(read, name)[row].numpy() for name in names))


def _held(values: np.ndarray, ages: np.ndarray, used: np.ndarray) -> list[tuple[float, float]]:
    """What a track remembers, in an order of its own: a number of each slot that counts, and its age."""
    return sorted((round(float(values[i].sum()), 4), float(ages[i])) for i in np.flatnonzero(used))


def test_perfect_masks_cost_nothing() -> None:
    target = torch.zeros(1, 8, 8)
    target[:, 2:6, 2:6] = 1
    focal, dice = mask_terms((2 * target - 1) * 20, target)
    assert float(focal) < 1e-6
    assert float(dice) < 1e-3
    assert float(hard_iou((2 * target - 1), target)) == 1
    worse, much_worse = (mask_terms(logits, target)[1] for logits in (torch.zeros(1, 8, 8), (1 - 2 * target) * 20))
    assert float(dice) < float(worse) < float(much_worse)


def test_pointers_must_stay_their_own() -> None:
    own = torch.eye(3)[None].expand(4, -1, -1)  # [F, T, d]
    seen = torch.ones(4, 3, dtype=torch.bool)
    mixed = own.clone()
    mixed[1:] = own[1:, [1, 2, 0]]
    assert float(pointer_term(own, seen)) < 0.01 < float(pointer_term(mixed, seen))
    assert float(pointer_term(mixed, torch.zeros_like(seen))) == 0


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"size": 100}, "multiple of 32"),
        ({"prompts": (1.0, 0.0)}, "three chances"),
        ({"frames": 20, "frames_last": 10}, "frames_last"),
        ({"tracks": 0}, "at least 1"),
        ({"fit": FitConfig(checkpointing=True), "frames": 1}, "frames_last"),
    ],
)
def test_numbers_that_cannot_work_are_refused(change: dict[str, object], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        Stage2Config(**change)  # type: ignore[arg-type]
