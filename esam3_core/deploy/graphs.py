# SPDX-License-Identifier: Apache-2.0
"""The graphs of a bundle as torch modules with plain tensors in and out (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from esam3_core.config import StudentConfig
from esam3_core.deploy.graphs_memory import (
    ExemplarEncoderGraph,
    MemorizerGraph,
    MemoryNeckGraph,
    PointerEncoderGraph,
    PropagatorGraph,
    PropagatorNearGraph,
    memory_inputs,
)
from esam3_core.nn.sam3_neck import Sam3Neck
from esam3_core.nn.student import Student, normalise
from esam3_core.runtime.bundle import REFINER_GRAPH
from esam3_core.runtime.refiner import REFINER_INPUTS, REFINER_OUTPUTS, SIDE


class ImageEncoderGraph(nn.Module):
    """Frame -> features."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.encoder = student.image_encoder

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """uint8 [1, S, S, 3] -> P16, P8, P4."""
        features = self.encoder(image)
        return features.p16, features.p8, features.p4


class SharedImageEncoderGraph(nn.Module):
    """Frame -> features, and what they are made of, for the neck of SAM 3's tracker."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        neck = student.image_encoder.neck
        if not isinstance(neck, Sam3Neck):
            raise ValueError("this student has one neck: only official ones have a second, for their tracker")
        self.trunk, self.neck = student.image_encoder.trunk, neck

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """uint8 [1, S, S, 3] -> P16, P8, P4, map [1, 1024, S/32, S/32]."""
        projected = self.neck.project(self.trunk(normalise(image))[-1])
        return *self.neck.pyramid(projected), projected


class TextEncoderGraph(nn.Module):
    """Tokens -> prompt."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.encoder = student.text_encoder

    def forward(self, tokens: Tensor) -> Tensor:
        """int64 [C, L] -> [C, L, d]."""
        return self.encoder(tokens)


class DetectorGraph(nn.Module):
    """Features of one frame and prompts of C concepts -> boxes, logits, presence and the k best masks."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.detector = student.detector
        self.masks = student.config.masks
        self.shares_frame = student.config.neck == "sam3"  # it computes for all concepts at once what it can

    def forward(
        self, p16: Tensor, p8: Tensor, p4: Tensor, prompt: Tensor, prompt_pad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        concepts = prompt.shape[0]
        frames = p16 if self.shares_frame else p16.expand(concepts, -1, -1, -1)
        out = self.detector(frames, p8, p4, prompt, prompt_pad)
        queries, logits, boxes = out.decoded.queries[-1], out.decoded.logits[-1], out.decoded.boxes[-1]
        kept = logits.topk(self.masks, dim=1).indices  # [C, k]
        chosen = torch.gather(queries, 1, kept[..., None].expand(-1, -1, queries.shape[-1]))
        places = torch.gather(boxes, 1, kept[..., None].expand(-1, -1, 4))
        masks = self.detector.masks(chosen, places, out.pixels)
        return boxes, logits, out.decoded.presence[-1], kept, masks


class RefinerGraph(nn.Module):
    """Crops of the camera's picture and masks in them -> the masks, corrected."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        if student.refiner is None:
            raise ValueError(
                "this student has no refiner: set student.refiner and run `esam3 distill refiner CONFIG --out FOLDER`"
            )
        self.refiner = student.refiner

    def forward(self, crops: Tensor, masks: Tensor) -> Tensor:
        """uint8 [T, R, R, 3], logits [T, R, R] -> logits [T, R, R]."""
        return self.refiner(crops, masks)


@dataclass(frozen=True)
class GraphSpec:
    """How one graph is traced: the module, example inputs, names and which inputs grow with concepts or tracks."""

    build: Callable[[Student], nn.Module]
    outputs: tuple[str, ...]
    concept_inputs: tuple[str, ...] = field(default=())  # or tracks: their first axis is the batch


GRAPHS = {
    "image_encoder": GraphSpec(ImageEncoderGraph, ("p16", "p8", "p4")),
    "text_encoder": GraphSpec(TextEncoderGraph, ("prompt",), ("tokens",)),
    "detector": GraphSpec(
        DetectorGraph,
        ("boxes", "logits", "presence", "kept", "masks"),
        ("prompt", "prompt_pad"),
    ),
}

MEMORY_GRAPHS = {
    "propagator": GraphSpec(
        PropagatorGraph,
        ("masks", "iou", "objectness", "pointer"),
        (
            "memory", "memory_age", "memory_used", "pointers", "pointer_age", "pointer_used", "points", "point_labels",
        ),
    ),
    "memorizer": GraphSpec(MemorizerGraph, ("memory",), ("masks", "objectness", "prompted")),
    "exemplar_encoder": GraphSpec(ExemplarEncoderGraph, ("prompt", "pad"), ("boxes", "labels")),
}  # fmt: skip

WINDOW_GRAPHS = {
    "propagator_near": GraphSpec(
        PropagatorNearGraph,
        ("masks", "iou", "objectness", "pointer"),
        ("memory", "memory_age", "memory_used", "pointers", "pointer_age", "pointer_used", "corner"),
    ),
}
"""What a memory that has learnt it has beside these: it looks for a track near where it was."""

REFINER_GRAPHS = {REFINER_GRAPH: GraphSpec(RefinerGraph, REFINER_OUTPUTS, REFINER_INPUTS)}
"""What a student has that refines its masks."""

OFFICIAL_MEMORY_GRAPHS = {
    "image_encoder": GraphSpec(SharedImageEncoderGraph, ("p16", "p8", "p4", "map")),
    "memory_neck": GraphSpec(MemoryNeckGraph, ("p16", "p8", "p4")),
    "pointer_encoder": GraphSpec(PointerEncoderGraph, ("pointer",), ("masks",)),
}
"""Graphs that SAM 3's tracker has beside or instead of those above."""


def graphs_of(config: StudentConfig) -> dict[str, GraphSpec]:
    """The graphs that a student's bundle has."""
    graphs = dict(GRAPHS)
    if config.memory.kind != "none":
        graphs |= MEMORY_GRAPHS
        graphs |= WINDOW_GRAPHS if config.memory.near else {}
        graphs |= OFFICIAL_MEMORY_GRAPHS if config.neck == "sam3" else {}
    elif has_exemplars(config):
        graphs["exemplar_encoder"] = MEMORY_GRAPHS["exemplar_encoder"]
    return graphs | (REFINER_GRAPHS if config.refiner else {})


def has_exemplars(config: StudentConfig) -> bool:
    """Whether boxes can show a concept: every student with memory can be shown one, and every official one."""
    return config.memory.kind != "none" or config.neck == "sam3"


def prompt_length(config: StudentConfig) -> int:
    """Tokens of the detector's prompt: those of the phrase, then those of the exemplars where there are any."""
    return config.text.context + (config.memory.exemplars + 1 if has_exemplars(config) else 0)


def example_inputs(graph: str, config: StudentConfig, concepts: int = 2) -> dict[str, Tensor]:
    """Inputs of the right shapes and types for tracing and for parity checks, the same at every call."""
    rng = torch.Generator().manual_seed(0)
    size, width, grid, context = config.size, config.width, config.grid, config.text.context
    fine = (width, width) if config.neck == "sam3" else (width // 4, width // 8)  # channels of P8 and P4
    if graph == "image_encoder":
        return {"image": torch.randint(0, 256, (1, size, size, 3), dtype=torch.uint8, generator=rng)}
    if graph == "text_encoder":
        tokens = torch.randint(1, config.text.vocab_size, (concepts, context), generator=rng)
        tokens[:, context // 2 :] = 0
        return {"tokens": tokens}
    if graph == REFINER_GRAPH:
        crops = torch.randint(0, 256, (concepts, SIDE, SIDE, 3), dtype=torch.uint8, generator=rng)
        return {"crops": crops, "masks": torch.randn(concepts, SIDE, SIDE, generator=rng) * 4}
    if any(graph in graphs for graphs in (MEMORY_GRAPHS, WINDOW_GRAPHS, OFFICIAL_MEMORY_GRAPHS)):
        return memory_inputs(graph, config, concepts, rng)
    length = prompt_length(config)
    pad = torch.zeros(concepts, length, dtype=torch.bool)
    pad[:, context // 2 :] = True
    return {
        "p16": torch.randn(1, width, grid, grid, generator=rng),
        "p8": torch.randn(1, fine[0], 2 * grid, 2 * grid, generator=rng),
        "p4": torch.randn(1, fine[1], 4 * grid, 4 * grid, generator=rng),
        "prompt": torch.randn(concepts, length, width, generator=rng),
        "prompt_pad": pad,
    }
