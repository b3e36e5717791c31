# SPDX-License-Identifier: Apache-2.0
"""The graphs that only a student with memory has: propagator, memorizer, exemplar encoder (DESIGN section 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esam3_core.config import StudentConfig
from esam3_core.nn.exemplar import ExemplarEncoder
from esam3_core.nn.memory import Memory, Remembered
from esam3_core.nn.sam3_detector import Sam3Detector
from esam3_core.nn.sam3_prompts import GeometryEncoder
from esam3_core.nn.student import Student


def memory_of(student: Student) -> Memory:
    """The memory of a student.

    Raises:
        ValueError: if it has none.
    """
    if student.memory is None:
        raise ValueError("this student has no memory: set student.memory.kind and run `esam3 distill stage2`")
    return student.memory


def exemplars_of(student: Student) -> ExemplarEncoder | GeometryEncoder:
    """The exemplar encoder of a student; that of official checkpoints is a part of their detector.

    Raises:
        ValueError: if it has none.
    """
    if isinstance(student.detector, Sam3Detector):
        return student.detector.geometry
    if student.exemplar_encoder is None:
        raise ValueError("this student has no exemplar encoder: it comes with memory, set student.memory.kind")
    return student.exemplar_encoder


class PropagatorGraph(nn.Module):
    """Features of one frame and the memory of T tracks -> where they are now."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.memory = memory_of(student)

    def forward(
        self, p16: Tensor, p8: Tensor, p4: Tensor, memory: Tensor, memory_age: Tensor, memory_used: Tensor,
        pointers: Tensor, pointer_age: Tensor, pointer_used: Tensor, points: Tensor, point_labels: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Shapes: `nn.memory.Remembered`; points [T, K, 2], point_labels int64 [T, K]."""
        remembered = Remembered(memory, memory_age, memory_used, pointers, pointer_age, pointer_used)
        seen = self.memory.propagate(p16, p8, p4, remembered, points, point_labels)
        return seen.masks, seen.iou, seen.objectness, seen.pointer


class MemorizerGraph(nn.Module):
    """Features of one frame and masks of T tracks -> what they shall remember."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.memory = memory_of(student)

    def forward(self, p16: Tensor, masks: Tensor, objectness: Tensor, prompted: Tensor) -> Tensor:
        """p16 [1, d, h, w], masks [T, S/4, S/4] logits, objectness [T], prompted bool [T] -> [T, L, m]."""
        return self.memory.memorise(p16, masks, objectness, prompted)


class ExemplarEncoderGraph(nn.Module):
    """Features of one frame and boxes on it -> prompt tokens of C concepts."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.encoder = exemplars_of(student)

    def forward(self, p16: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """p16 [1, d, h, w], boxes [C, E, 4] cxcywh, labels int64 [C, E] -> [C, E + 1, d], bool [C, E + 1]."""
        return self.encoder(p16, boxes, labels)


def memory_inputs(graph: str, config: StudentConfig, rows: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Inputs of one of these graphs for `rows` tracks or concepts; one row remembers nothing."""
    own, size, width = config.memory, config.size, config.width
    p16 = torch.randn(1, width, config.grid, config.grid, generator=rng)
    if graph == "exemplar_encoder":
        labels = torch.randint(-1, 2, (rows, own.exemplars), generator=rng)
        return {"p16": p16, "boxes": torch.rand(rows, own.exemplars, 4, generator=rng), "labels": labels}
    if graph == "memorizer":
        return {
            "p16": p16,
            "masks": torch.randn(rows, size // 4, size // 4, generator=rng) * 4,
            "objectness": torch.randn(rows, generator=rng),
            "prompted": torch.arange(rows) % 2 == 0,
        }
    used = torch.rand(rows, own.slots, generator=rng) < 0.7
    used[-1] = False
    return {
        "p16": p16,
        "p8": torch.randn(1, width // 4, size // 8, size // 8, generator=rng),
        "p4": torch.randn(1, width // 8, size // 4, size // 4, generator=rng),
        "memory": torch.randn(rows, own.slots, own.tokens(size), own.width, generator=rng),
        "memory_age": torch.randint(0, own.ring + 1, (rows, own.slots), generator=rng),
        "memory_used": used,
        "pointers": torch.randn(rows, own.pointers, width, generator=rng),
        "pointer_age": torch.randint(0, 40, (rows, own.pointers), generator=rng).float(),
        "pointer_used": torch.rand(rows, own.pointers, generator=rng) < 0.7,
        "points": torch.rand(rows, own.points, 2, generator=rng),
        "point_labels": torch.tensor([[1, -1, -1, -1], [2, 3, -1, -1], [-1, -1, -1, -1]])[
            torch.arange(rows) % 3
        ][:, : own.points],
    }  # fmt: skip
