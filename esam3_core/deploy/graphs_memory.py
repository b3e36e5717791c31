# SPDX-License-Identifier: Apache-2.0
"""The graphs that only a student with memory has: propagator, memorizer, exemplar encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esam3_core.config import STRIDES, StudentConfig
from esam3_core.nn.exemplar import ExemplarEncoder
from esam3_core.nn.memory import Memory, Remembered
from esam3_core.nn.sam3_detector import Sam3Detector
from esam3_core.nn.sam3_memory import Sam3Memory
from esam3_core.nn.sam3_neck import HIDDEN
from esam3_core.nn.sam3_prompts import GeometryEncoder
from esam3_core.nn.student import Student
from esam3_core.nn.window import Windows
from esam3_core.runtime.near import window_side


def memory_of(student: Student) -> Memory:
    """The memory of a student.

    Raises:
        ValueError: if it has none.
    """
    if student.memory is None:
        raise ValueError(
            "this student has no memory: set student.memory.kind and run `esam3 distill stage2 CONFIG --out FOLDER`"
        )
    return student.memory


def official_memory_of(student: Student) -> Sam3Memory:
    """The memory of a student that has SAM 3's tracker.

    Raises:
        ValueError: if it has none, or one of ours.
    """
    memory = memory_of(student)
    if not isinstance(memory, Sam3Memory):
        raise ValueError("this student's memory sees the features of its detector: only SAM 3's has a neck of its own")
    return memory


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


class PropagatorNearGraph(nn.Module):
    """Features of one frame, the memory of T tracks and a window for each -> where they are now in their windows."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.memory = memory_of(student)

    def forward(
        self, p16: Tensor, p8: Tensor, p4: Tensor, memory: Tensor, memory_age: Tensor, memory_used: Tensor,
        pointers: Tensor, pointer_age: Tensor, pointer_used: Tensor, corner: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """Shapes: `nn.memory.Remembered`; corner int64 [T, 2]."""
        remembered = Remembered(memory, memory_age, memory_used, pointers, pointer_age, pointer_used)
        grid = (p16.shape[2], p16.shape[3])
        windows = Windows(corner, window_side(grid[0]), grid)
        seen = self.memory.propagate_near(p16, p8, p4, remembered, windows)
        return seen.masks, seen.iou, seen.objectness, seen.pointer


class MemorizerGraph(nn.Module):
    """Features of one frame and masks of T tracks -> what they shall remember."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.memory = memory_of(student)

    def forward(self, p16: Tensor, masks: Tensor, objectness: Tensor, prompted: Tensor) -> Tensor:
        """p16 [1, d, g, g], masks [T, 4g, 4g] logits, objectness [T], prompted bool [T] -> [T, L, m]."""
        return self.memory.memorise(p16, masks, objectness, prompted)


class MemoryNeckGraph(nn.Module):
    """What the image encoder has before its neck -> the features that SAM 3's tracker sees."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.neck = official_memory_of(student).neck

    def forward(self, map: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """map [1, 1024, S/32, S/32] -> p16 [1, d, g, g], p8 [1, d/4, 2g, 2g], p4 [1, d/8, 4g, 4g]."""
        return self.neck(map)


class PointerEncoderGraph(nn.Module):
    """Features of one frame and masks that were given on it -> object pointers of T tracks."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.memory = official_memory_of(student)

    def forward(self, p16: Tensor, p8: Tensor, p4: Tensor, masks: Tensor) -> Tensor:
        """The neck's features and masks [T, 4g, 4g] logits -> [T, d]."""
        return self.memory.point_at(p16, p8, p4, masks)


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
    own, grid, width = config.memory, config.grid, config.width
    if graph == "memory_neck":
        side = -(-config.size // 32)
        return {"map": torch.randn(1, HIDDEN, side, side, generator=rng)}
    p16 = torch.randn(1, width, grid, grid, generator=rng)
    if graph == "exemplar_encoder":
        labels = torch.randint(-1, 2, (rows, own.exemplars), generator=rng)
        return {"p16": p16, "boxes": torch.rand(rows, own.exemplars, 4, generator=rng), "labels": labels}
    if graph == "memorizer":
        return {
            "p16": p16,
            "masks": torch.randn(rows, 4 * grid, 4 * grid, generator=rng) * 4,
            "objectness": torch.randn(rows, generator=rng),
            "prompted": torch.arange(rows) % 2 == 0,
        }
    fine = {
        "p8": torch.randn(1, width // 4, 2 * grid, 2 * grid, generator=rng),
        "p4": torch.randn(1, width // 8, 4 * grid, 4 * grid, generator=rng),
    }
    if graph == "pointer_encoder":
        return {"p16": p16, **fine, "masks": torch.randn(rows, 4 * grid, 4 * grid, generator=rng) * 4}
    near = graph == "propagator_near"
    used = torch.rand(rows, own.slots, generator=rng) < 0.7
    used[-1] = near
    latents = own.tokens(config.size, STRIDES[config.neck])
    remembered = {
        "p16": p16,
        **fine,
        "memory": torch.randn(rows, own.slots, latents, own.width, generator=rng),
        "memory_age": torch.randint(0, own.ring + 1, (rows, own.slots), generator=rng),
        "memory_used": used,
        "pointers": torch.randn(rows, own.pointers, width, generator=rng),
        "pointer_age": torch.randint(0, 40, (rows, own.pointers), generator=rng).float(),
        "pointer_used": torch.rand(rows, own.pointers, generator=rng) < 0.7,
    }
    if near:
        room = grid - window_side(grid) + 1
        return {**remembered, "corner": torch.randint(0, room, (rows, 2), generator=rng)}
    return {
        **remembered,
        "points": torch.rand(rows, own.points, 2, generator=rng),
        "point_labels": example_labels(rows, own.points),
    }


def example_labels(rows: int, room: int) -> Tensor:
    """Labels of a point, of a box and of nothing, in turn: int64 [rows, room]."""
    kinds = torch.full((3, max(room, 2)), -1)
    kinds[0, 0], kinds[1, 0], kinds[1, 1] = 1, 2, 3
    return kinds[torch.arange(rows) % 3][:, :room]
