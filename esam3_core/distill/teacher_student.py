# SPDX-License-Identifier: Apache-2.0
"""One of our own students as a teacher: a run's folder, a checkpoint in it, or a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer
from torch import Tensor

from esam3_core.config import StudentConfig, from_dict
from esam3_core.config_fit import TeacherConfig
from esam3_core.convert.tokenizer import build_clip_tokenizer
from esam3_core.deploy.weights import load_weights
from esam3_core.distill.checkpoint_file import CHECKPOINT, load_checkpoint
from esam3_core.distill.commands import read_values
from esam3_core.distill.teacher import (
    ClipOutputs,
    Concepts,
    Levels,
    Prompted,
    Teacher,
    TeacherError,
    existing,
    fingerprint,
    freeze,
    resized,
)
from esam3_core.nn.memory import Memory
from esam3_core.nn.student import Features, Student
from esam3_core.nn.text import pad_mask

LEVELS = ("p16", "p8", "p4")
# What depends on the trunk: itself, and the layers of either neck that read its maps.
OF_TRUNK = ("image_encoder.trunk.", "image_encoder.neck.lateral", "image_encoder.neck.project.0.")


class StudentTeacher(Teacher):
    """A student that teaches.

    Args:
        student: with trained weights.
        tokenizer: of the student.
        size: S; 0 = the student's own.
    """

    concept_levels = LEVELS

    def __init__(self, student: Student, tokenizer: Tokenizer, size: int = 0) -> None:
        self.student, self.tokenizer = student, tokenizer
        self.size = size or student.config.size
        width = student.config.width
        self.channels = {"p16": width, "p8": width // 4, "p4": width // 8}
        self.sides = {"p16": self.size // 16, "p8": self.size // 8, "p4": self.size // 4}
        self.prompted_levels = LEVELS if student.memory is not None else ()
        self.key = fingerprint(student, self.size)
        freeze(student, "float32")

    @classmethod
    def open(cls, config: TeacherConfig) -> StudentTeacher:
        """The averaged student of a run, or a bundle's.

        Raises:
            TeacherError: there is none.
        """
        path = existing(config)
        if config.precision != "float32":
            raise TeacherError("a student teaches in float32: remove teacher.precision")
        card = path / "student.yaml"
        if card.is_file():
            student = Student(from_dict(StudentConfig, yaml.safe_load(card.read_text())["student"]))
            load_weights(student, path)
            return cls(student, Tokenizer.from_file(str(path / "tokenizer.json")), config.size)
        checkpoint = path / CHECKPOINT if path.is_dir() else path
        described = checkpoint.parent / "config.yaml"
        if not checkpoint.is_file() or not described.is_file():
            raise TeacherError(
                f"{path} is neither a bundle nor a run: it needs student.yaml, or last.pt and config.yaml"
            )
        run = read_values(described)  # of any stage
        student = Student(from_dict(StudentConfig, run.get("student", {})))
        student.load_state_dict(load_checkpoint(checkpoint)["average"])
        return cls(student, _tokenizer(run, checkpoint.parent), config.size)

    def to(self, device: torch.device) -> StudentTeacher:
        self.student.to(device)
        return self

    @torch.no_grad()
    def features(self, frames: Tensor) -> Levels:
        found = self.student.image_encoder(resized(frames, self.size))
        return {"p16": found.p16, "p8": found.p8, "p4": found.p4}

    @torch.no_grad()
    def text(self, texts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        device = next(self.student.parameters()).device
        ids = torch.tensor([encoding.ids for encoding in self.tokenizer.encode_batch(texts)], device=device)
        return ids, self.student.text_encoder(ids), pad_mask(ids)

    def concepts(self, levels: Levels, frame: Tensor, texts: list[str], top: int) -> Concepts:
        _, prompt, pad = self.text(texts)
        features = Features(*(levels[name] for name in LEVELS)).take(frame)
        out = self.student.detect(features, prompt, pad)
        logits, boxes = out.decoded.logits[-1], out.decoded.boxes[-1]
        best = logits.topk(min(top, logits.shape[1])).indices  # [C, k]
        queries = rows_of(out.decoded.queries[-1], best)
        boxes = rows_of(boxes, best)
        masks = self.student.detector.masks(queries, boxes, out.pixels)
        grid = features.p16.shape[2:]
        semantic = out.match.reshape(-1, *grid)
        return Concepts(boxes, logits.gather(1, best), out.decoded.presence[-1], masks, semantic)

    def prompted(self, levels: Levels, frame: Tensor, points: Tensor, labels: Tensor) -> Prompted:
        memory = self._memory()
        features = Features(*(levels[name] for name in LEVELS)).take(frame)
        known = memory.nothing(len(frame), features.p16)
        seen = memory.propagate(features.p16, features.p8, features.p4, known, points, labels)
        return Prompted(seen.masks, seen.iou, seen.objectness, seen.pointer)

    def _memory(self) -> Memory:
        if self.student.memory is None:
            raise TeacherError(
                "this teacher has no memory and no prompted heads: distil stage 2 into it, or set prompt_weight to 0"
            )
        return self.student.memory

    @torch.no_grad()
    def clip(self, frames: Tensor, points: Tensor, labels: Tensor) -> ClipOutputs:
        from esam3_core.distill.teacher_clip import follow

        return follow(self._memory(), self.features(frames), points, labels)


def take_heads(student: Student, teacher: Teacher, tokenizer: Tokenizer) -> None:
    """Give a student everything of its teacher that does not depend on the trunk: heads, text encoder, memory, and what
    of the neck comes behind the lateral convolutions.

    Raises:
        TeacherError: the teacher is none of our students, or its heads have other sizes or another tokenizer.
    """
    if not isinstance(teacher, StudentTeacher):
        raise TeacherError("only a teacher of kind student gives its heads: set start to another run, or to nothing")
    if tokenizer.to_str() != teacher.tokenizer.to_str():
        raise TeacherError("the teacher's heads need its tokenizer: set text to the folder it was trained with")
    theirs, own = teacher.student.state_dict(), student.state_dict()
    taken = [name for name in own if not name.startswith(OF_TRUNK)]
    wrong = [name for name in taken if name not in theirs or theirs[name].shape != own[name].shape]
    if wrong:
        raise TeacherError(
            f"the teacher's heads do not fit ({wrong[0]}): use its student section, with another variant only"
        )
    student.load_state_dict({name: theirs[name] for name in taken}, strict=False)


def _tokenizer(run: dict[str, Any], folder: Path) -> Tokenizer:
    """The tokenizer of a run: that of its text encoder's folder, or of the one that learnt in it."""
    text = Path(run["text"]) if run.get("text") else folder / "text"
    path = text / "tokenizer.json"
    if path.is_file():
        return Tokenizer.from_file(str(path))
    return build_clip_tokenizer(from_dict(StudentConfig, run.get("student", {})).text.context)


def rows_of(values: Tensor, index: Tensor) -> Tensor:
    """Rows `index` [C, k] of values [C, Q, n]: [C, k, n]."""
    return values.gather(1, index[..., None].expand(-1, -1, values.shape[-1]))
