# SPDX-License-Identifier: Apache-2.0
"""The scripted tracker runs of the parity vectors, through our memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from esam3_core.convert.ground import Official
from esam3_core.nn.memory import Remembered
from esam3_core.nn.sam3_memory import Sam3Memory
from esam3_core.nn.sam3_neck import Sam3Neck
from esam3_core.nn.student import Student, normalise
from tests.convert.vectors import ellipse, rule

FRAMES = 4  # that the tracker is told of, in every run
RUNS = {"plain": 4, "selection": 4, "empty": 2}
"""Run -> frames that it has."""
NO_POINT = torch.zeros(1, 1, 2), torch.full((1, 1), -1)

Seen = tuple[Tensor, Tensor, Tensor]


def see(student: Student, seed: int, number: int) -> Seen:
    """What the tracker sees of a frame."""
    encoder, memory = student.image_encoder, student.memory
    assert isinstance(encoder.neck, Sam3Neck) and isinstance(memory, Sam3Memory)
    frame = Official(student).resize(rule().frame(seed, number))
    return memory.neck(encoder.neck.project(encoder.trunk(normalise(frame))[-1]))


def steps(memory: Sam3Memory, run: str, look: Callable[[int], Seen], frames: int) -> Iterator[dict[str, Any]]:
    """What the tracker says of each frame of a run, by the names of the vectors.

    Args:
        look: what it sees of a frame; see `see`.
    """
    memory.config = dataclasses.replace(memory.config, pointer_span=FRAMES)
    mask = torch.zeros_like(ellipse()) if run == "empty" else ellipse()
    sure = torch.tensor([-10.0 if run == "empty" else 10.0])
    p16, p8, p4 = look(0)
    drawn = memory.draw_given(p16, p8, p4, mask)
    latents = [memory.memorise(p16, mask * 20 - 10, sure, torch.tensor([False]))]
    pointers = [memory.point_at(p16, p8, p4, mask * 20 - 10)]
    yield {
        "sam2_fpn2": p16, "sam_object_score": drawn.objectness, "obj_ptr": pointers[0],
        "maskmem": latents[0].transpose(1, 2),
    }  # fmt: skip
    for number in range(1, frames):
        p16, p8, p4 = look(number)
        held = _held(latents, pointers, run)
        drawn, seen = memory.draw(p16, p8, p4, held, *NO_POINT), memory.propagate(p16, p8, p4, held, *NO_POINT)
        latents.append(memory.memorise(p16, seen.masks, seen.objectness, torch.tensor([False])))
        pointers.append(seen.pointer)
        yield {
            "sam2_fpn2": p16, "memory_attention_out": memory.condition(p16, held)[0], "sam_ious": drawn.iou[:, 1:],
            "sam_all_masks": drawn.masks[:, 1:], "mask_low_res": seen.masks, "obj_ptr": seen.pointer,
            "object_score_logits": seen.objectness, "maskmem": latents[-1].transpose(1, 2),
        }  # fmt: skip


def _held(latents: list[Tensor], pointers: list[Tensor], run: str) -> Remembered:
    """What is remembered at the frame behind these; with memory selection upstream loses the oldest pointer."""
    now = len(latents)
    pointed = [0, *range(2 if run == "selection" else 1, now)]
    return Remembered(
        torch.stack(latents, 1),
        torch.tensor([[0, *(now - number for number in range(1, now))]]),
        torch.ones(1, now, dtype=torch.bool),
        torch.stack([pointers[number] for number in pointed], 1),
        torch.tensor([[float(now - number) for number in pointed]]),
        torch.ones(1, len(pointed), dtype=torch.bool),
    )
