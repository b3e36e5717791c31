# SPDX-License-Identifier: Apache-2.0
"""A student with memory follows objects through a clip, to teach another."""

from __future__ import annotations

import torch
from torch import Tensor

from esam3_core.distill.teacher import HIDDEN, ClipOutputs, Levels
from esam3_core.nn.memory import Memory, Remembered, Sighting


def follow(memory: Memory, levels: Levels, points: Tensor, labels: Tensor) -> ClipOutputs:
    """Follow K objects, prompted in the first frame.

    The first frame is the anchor; of the later ones the newest `ring` are remembered.

    Args:
        levels: p16, p8 and p4 of T frames.
        points: [K, n, 2]; labels: [K, n].
    """
    slots: list[tuple[int, Tensor]] = []  # frame, what was written of it [K, L, m]
    sightings: list[Sighting] = []
    tracks = len(points)
    none = torch.full_like(labels, -1)
    for frame in range(len(levels["p16"])):
        p16, p8, p4 = (levels[name][frame : frame + 1] for name in ("p16", "p8", "p4"))
        known = _remembered(memory, slots, sightings, frame, tracks, p16)
        seen = memory.propagate(p16, p8, p4, known, points, labels if frame == 0 else none)
        prompted = torch.full((tracks,), frame == 0, device=p16.device)
        slots.append((frame, memory.memorise(p16, seen.masks, seen.objectness, prompted)))
        slots = slots[:1] + slots[1:][-memory.config.ring :]
        sightings.append(seen)
    visible = [s.objectness[:, None, None] > 0 for s in sightings]
    return ClipOutputs(
        torch.stack([torch.where(v, s.masks, HIDDEN) for v, s in zip(visible, sightings, strict=True)]),
        torch.stack([s.objectness for s in sightings]),
        torch.stack([s.pointer for s in sightings]),
    )


def _remembered(
    memory: Memory, slots: list[tuple[int, Tensor]], sightings: list[Sighting], frame: int, tracks: int, p16: Tensor
) -> Remembered:
    """The slots and pointers as memory attention reads them; before the first frame one empty slot."""
    if not slots:
        return memory.nothing(tracks, p16)
    own, device = memory.config, p16.device
    ages = [0 if when == 0 else min(frame - when, own.ring) for when, _ in slots]
    age = torch.tensor(ages, device=device).expand(tracks, -1)
    newest = sightings[:1] + sightings[1:][-(own.pointers - 1) :] if own.pointers > 1 else sightings[:1]
    places = [0, *range(max(1, frame - len(newest) + 1), frame)]
    ago = torch.tensor([float(frame - place) for place in places], device=device).expand(tracks, -1)
    return Remembered(
        torch.stack([latents for _, latents in slots], 1), age, torch.ones_like(age, dtype=torch.bool),
        torch.stack([seen.pointer for seen in newest], 1), ago, torch.ones_like(ago, dtype=torch.bool),
    )  # fmt: skip
