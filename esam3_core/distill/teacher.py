# SPDX-License-Identifier: Apache-2.0
"""Teachers: one interface for everything a student can learn from (docs/distill.md, teachers).

A teacher sees frames and gives features; its frozen heads turn features, its own or a student's, into masks. So a
student's features can be judged by what the teacher can still see in them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from esam3_core.config_fit import TeacherConfig

Levels = dict[str, Tensor]
"""Feature maps by name, each [B, C, h, w]. p16, p8, p4: the pyramid at about these strides; t16, t8, t4: SAM 3's second
pyramid, of its tracker; trunk: the ViT's own map."""

STUDENT_LEVEL = {"p16": "p16", "p8": "p8", "p4": "p4", "t16": "p16", "t8": "p8", "t4": "p4", "trunk": "p16"}
"""Level of a teacher -> level of the student that learns it."""


class TeacherError(ValueError):
    """A teacher cannot be opened, or cannot do what is asked of it; the message says what to do instead."""


@dataclass
class Prompted:
    """Masks for P prompts."""

    masks: Tensor  # [P, h, w] logits, about stride 4
    iou: Tensor  # [P] 0..1, expected
    objectness: Tensor  # [P] logit
    pointers: Tensor  # [P, d]


@dataclass
class Concepts:
    """What is found of C (picture, phrase) pairs; queries in the order of their scores."""

    boxes: Tensor  # [C, k, 4] cxcywh, 0..1
    logits: Tensor  # [C, k]; score = sigmoid(logit) x sigmoid(presence)
    presence: Tensor  # [C] logit
    masks: Tensor  # [C, k, h, w] logits
    semantic: Tensor  # [C, h', w'] logits: does this place belong to any instance


HIDDEN = -1024.0  # logit of every place while an object is hidden (SAM 2)


@dataclass
class ClipOutputs:
    """K objects through T frames, with the teacher's memory."""

    masks: Tensor  # [T, K, h, w] logits; below 0 everywhere where the object is hidden
    objectness: Tensor  # [T, K] logit
    pointers: Tensor  # [T, K, d]


class Teacher:
    """What every teacher can do.

    Attributes:
        size: S, side of its input, pixels.
        key: changes whenever its weights or sizes do.
        channels, sides: of its levels, by name; a level is [B, channels, side, side].
        concept_levels, prompted_levels: the levels its heads read; empty if it has no such heads.
    """

    size: int
    key: str
    channels: dict[str, int]
    sides: dict[str, int]
    concept_levels: tuple[str, ...] = ()
    prompted_levels: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Teacher:
        """Move to a device."""
        raise NotImplementedError

    def features(self, frames: Tensor) -> Levels:
        """uint8 RGB frames [B, S', S', 3] of any size -> every level. No gradient."""
        raise NotImplementedError

    def prompted(self, levels: Levels, frame: Tensor, points: Tensor, labels: Tensor) -> Prompted:
        """Masks of prompts; differentiable in the levels.

        Args:
            levels: at least `prompted_levels`.
            frame: int64 [P], the row of the levels a prompt is about.
            points: [P, K, 2] x, y in 0..1; labels: int64 [P, K], 1 positive, 0 negative, 2 and 3 corners of a box,
                -1 padding.

        Raises:
            TeacherError: this teacher has no such heads.
        """
        raise TeacherError(f"{type(self).__name__} has no prompted heads: choose another teacher or prompt_weight 0")

    def concepts(self, levels: Levels, frame: Tensor, texts: list[str], top: int) -> Concepts:
        """The `top` best answers to C phrases about rows `frame` [C] of the levels; differentiable in the levels."""
        raise TeacherError(f"{type(self).__name__} has no concept heads: choose another teacher or concept_weight 0")

    def text(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids int64 [C, L], text tokens [C, L, d] and padding bool [C, L] of phrases. No gradient."""
        raise TeacherError(f"{type(self).__name__} has no text encoder: choose another teacher or text_weight 0")

    def clip(self, frames: Tensor, points: Tensor, labels: Tensor) -> ClipOutputs:
        """Follow K objects, prompted in the first of T frames uint8 [T, S', S', 3], as in `prompted`. No gradient."""
        raise TeacherError(f"{type(self).__name__} has no memory: choose another teacher")


def open_teacher(config: TeacherConfig) -> Teacher:
    """The teacher of a configuration, frozen, on the CPU.

    Raises:
        TeacherError: the configuration names none, or it cannot be opened.
    """
    if config.kind == "sam3":
        from esam3_core.distill.teacher_sam3 import Sam3Teacher

        return Sam3Teacher.open(config)
    if config.kind == "student":
        from esam3_core.distill.teacher_student import StudentTeacher

        return StudentTeacher.open(config)
    if config.kind == "official":
        from esam3_core.distill.teacher_official import OfficialTeacher

        return OfficialTeacher.open(config)
    raise TeacherError(
        "the configuration names no teacher: set teacher.kind to sam3, student or official, and teacher.path"
    )


def freeze(module: nn.Module, precision: str) -> None:
    """Evaluation mode for good, no gradients for the weights, in the precision asked for."""
    module.eval().requires_grad_(False).to(getattr(torch, precision))


def fingerprint(module: nn.Module, size: int) -> str:
    """Hash of all weights and the input size."""
    digest = hashlib.sha256(str(size).encode())
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def resized(frames: Tensor, size: int, antialias: bool = False) -> Tensor:
    """Frames uint8 [B, S', S', 3] at another size, by the same function as on the robot."""
    if frames.shape[1] == frames.shape[2] == size:
        return frames
    from esam3_core.runtime.preprocess import resize_frame

    rows = [torch.from_numpy(resize_frame(frame, size, antialias)) for frame in frames.cpu().numpy()]
    return torch.stack(rows).to(frames.device)


def existing(config: TeacherConfig) -> Path:
    """The teacher's path.

    Raises:
        TeacherError: there is nothing.
    """
    path = Path(config.path)
    if not path.exists():
        raise TeacherError(f"no teacher at {path}: set teacher.path to a folder or file that exists")
    return path
