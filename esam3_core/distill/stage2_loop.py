# SPDX-License-Identifier: Apache-2.0
"""The closed loop of stage 2: tracks go through a clip with what they remember themselves, as they do on the robot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from esam3_core.distill.stage2_batches import ClipBatch
from esam3_core.nn.memory import Memory, Remembered, Sighting
from esam3_core.nn.window import Windows
from esam3_core.runtime.near import SPLIT, window_side
from esam3_core.runtime.object_prompt import CERTAIN
from esam3_core.runtime.overlaps import SUPPRESSED


@dataclass
class Journey:
    """What T tracks saw in F frames."""

    masks: Tensor  # [F, T, S/4, S/4] logits
    iou: Tensor  # [F, T] 0..1
    objectness: Tensor  # [F, T] logit
    pointers: Tensor  # [F, T, d]
    tokens: Tensor  # [F, T, N, c] of the frames after drawing
    again: Sighting  # the first frame, seen again without a prompt by what was just remembered


class Recollection:
    """What T tracks remember on their way, with gradients; the rules are those of `runtime.memory.MemoryBank`.

    Args:
        memory: whose sizes hold; tracks: T.
    """

    def __init__(self, memory: Memory, tracks: int) -> None:
        self.config = memory.config
        self.latents: list[Tensor] = []  # of every frame so far [T, L, m]
        self.pointers: list[Tensor] = []  # [T, d]
        self.anchors: list[list[int]] = [[] for _ in range(tracks)]  # of each track: frames kept for good
        self.ring: list[list[int]] = [[] for _ in range(tracks)]  # frames written after them, oldest first

    def write(self, latents: Tensor, pointers: Tensor, wanted: list[bool], anchor: list[bool]) -> None:
        """Remember the next frame: latents [T, L, m] and pointers [T, d] of the tracks that want it."""
        frame = len(self.latents)
        self.latents.append(latents)
        self.pointers.append(pointers)
        for track, wants in enumerate(wanted):
            if not wants:
                continue
            free = anchor[track] and len(self.anchors[track]) < self.config.anchors
            (self.anchors if free else self.ring)[track].append(frame)

    def read(self) -> Remembered:
        """What memory attention reads in the frame after those written; at least one slot, used or not."""
        tracks, frame, device = len(self.anchors), len(self.latents), self.latents[0].device
        slots = [
            [(f, 0) for f in a] + [(f, age + 1) for age, f in enumerate(reversed(r[-self.config.ring :]))]
            for a, r in zip(self.anchors, self.ring, strict=True)
        ]
        kept = min(self.config.anchors, self.config.pointers - 1)
        points = []
        for a, r in zip(self.anchors, self.ring, strict=True):
            rest = sorted(a[kept:] + r)[-(self.config.pointers - kept) :]
            points.append([(f, frame - f) for f in a[:kept] + rest])
        place, age, used = (x.to(device) for x in _table(slots))
        point, ago, pointed = (x.to(device) for x in _table(points))
        rows = torch.arange(tracks, device=device)[:, None]
        return Remembered(
            torch.stack(self.latents, 1)[rows, place], age, used,
            torch.stack(self.pointers, 1)[rows, point], ago.float(), pointed,
        )  # fmt: skip


def _table(rows: list[list[tuple[int, int]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of numbers, rows of any length, as two tables and which places of them count: int64, int64, bool."""
    width = max(1, max(len(row) for row in rows))
    padded = [row + [(0, 0)] * (width - len(row)) for row in rows]
    used = torch.tensor([[i < len(row) for i in range(width)] for row in rows])
    both = torch.tensor(padded)  # [T, width, 2]
    return both[..., 0], both[..., 1], used


def travel(memory: Memory, batch: ClipBatch, forget: bool = False) -> Journey:
    """Let tracks go through a batch's clips; what they remember is their own masks, but where one comes from outside.

    Args:
        forget: compute activations again in the backward pass instead of keeping them.
    """
    call: Callable[..., Any] = _forgetful if forget else _direct
    frames, tracks = batch.visible.shape
    none = torch.full_like(batch.labels, -1)
    sights: list[Sighting] = []
    again: Sighting | None = None
    recollection = Recollection(memory, tracks)
    for frame in range(frames):
        p16, p8, p4 = (maps[frame].float()[batch.clip] for maps in (batch.p16, batch.p8, batch.p4))
        known = recollection.read() if frame else memory.nothing(tracks, p16)
        if batch.near[frame].any():
            seen = _look_both_ways(memory, call, (p16, p8, p4), known, batch, frame)
        else:
            seen = call(memory.propagate, p16, p8, p4, known, batch.points, none if frame else batch.labels)
        given = batch.given[frame]
        masks = torch.where(given[:, None, None], (2 * batch.shown[frame] - 1) * CERTAIN, seen.masks)
        told = given if frame else torch.ones_like(given)
        sure = torch.where(told, seen.objectness.new_tensor(CERTAIN), seen.objectness)
        latents = call(memory.memorise, p16, masks, sure, told)
        wanted = told | ((sure > 0) & batch.written[frame])
        if frame == 0:
            # On the robot the first pointer comes from a second look, with the memory of the first.
            first = Recollection(memory, tracks)
            first.write(latents, torch.zeros_like(seen.pointer), wanted.tolist(), told.tolist())
            held = first.read()
            held.pointer_used = torch.zeros_like(held.pointer_used)
            again = call(memory.propagate, p16, p8, p4, held, batch.points, none)
            seen.pointer = again.pointer
        recollection.write(latents, seen.pointer, wanted.tolist(), told.tolist())
        sights.append(seen)
    assert again is not None

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(sight, name) for sight in sights])

    return Journey(
        stacked("masks"), stacked("iou"), stacked("objectness"), stacked("pointer"), stacked("tokens"), again
    )


def _look_both_ways(
    memory: Memory, call: Callable[..., Any], maps: tuple[Tensor, ...], known: Remembered, batch: ClipBatch, frame: int
) -> Sighting:
    """What tracks see of which some are looked for in a window; elsewhere these see nothing."""
    near = batch.near[frame]
    grid = (maps[0].shape[2], maps[0].shape[3])
    windows = Windows(batch.corner[frame][near], window_side(grid[0]), grid)
    some = call(memory.propagate_near, *(x[near] for x in maps), _of(known, near), windows)
    masks = windows.whole(some.masks.flatten(1)[..., None], SPLIT, SUPPRESSED)[..., 0]
    some = replace(some, masks=masks.unflatten(1, maps[2].shape[2:]), tokens=windows.whole(some.tokens, 1, 0.0))
    if near.all():
        return some
    rest = ~near
    none = torch.full_like(batch.labels[rest], -1)
    others = call(memory.propagate, *(x[rest] for x in maps), _of(known, rest), batch.points[rest], none)
    order = torch.cat([near.nonzero()[:, 0], rest.nonzero()[:, 0]]).argsort()
    both = {one.name: torch.cat([getattr(some, one.name), getattr(others, one.name)])[order] for one in fields(some)}
    return Sighting(**both)


def _of(known: Remembered, tracks: Tensor) -> Remembered:
    """What some tracks remember; tracks: bool [T]."""
    return Remembered(*(getattr(known, one.name)[tracks] for one in fields(known)))


def _direct(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _forgetful(function: Callable[..., Any], *arguments: Any) -> Any:
    return checkpoint(function, *arguments, use_reentrant=False)
