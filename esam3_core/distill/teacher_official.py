# SPDX-License-Identifier: Apache-2.0
"""An official EfficientSAM3 (or SAM 3 image) checkpoint as a teacher: image features, text and concepts."""

from __future__ import annotations

import torch
from torch import Tensor

from esam3_core.config_fit import TeacherConfig
from esam3_core.convert.checkpoint import open_checkpoint
from esam3_core.convert.official import convert
from esam3_core.convert.tokenizer import build_clip_tokenizer
from esam3_core.distill.teacher import Concepts, Levels, TeacherError, existing, resized
from esam3_core.distill.teacher_student import LEVELS, StudentTeacher, rows_of
from esam3_core.nn.sam3_detector import Sam3Detector
from esam3_core.nn.student import Student

SHOWN = 8  # queries whose masks together say where a concept is: official detectors have no map of places


class OfficialTeacher(StudentTeacher):
    """A student with the official neck and detector. Its tracker reads a pyramid of its own and does not teach here.

    Args:
        student: as `convert` gives it.
    """

    def __init__(self, student: Student) -> None:
        super().__init__(student, build_clip_tokenizer(student.config.text.context))
        if not isinstance(student.detector, Sam3Detector):
            raise TeacherError("this is no official checkpoint: use teacher.kind student")
        grid = student.config.grid
        self.channels = dict.fromkeys(LEVELS, student.config.width)
        self.sides = dict(zip(LEVELS, (grid, 2 * grid, 4 * grid), strict=True))
        self.prompted_levels = ()

    @classmethod
    def open(cls, config: TeacherConfig) -> OfficialTeacher:
        """A .pt, .pth or .safetensors file.

        Raises:
            TeacherError: there is none, or it is asked for another size.
            CheckpointError: the file is something else; the message says what.
        """
        teacher = cls(convert(open_checkpoint(existing(config))).student)
        if config.size not in (0, teacher.size):
            raise TeacherError(f"this checkpoint reads {teacher.size} pixels, not {config.size}: remove teacher.size")
        return teacher

    @torch.no_grad()
    def features(self, frames: Tensor) -> Levels:
        """Every level; frames are resized as official checkpoints expect it."""
        found = self.student.image_encoder(resized(frames, self.size, self.student.config.antialias))
        return {"p16": found.p16, "p8": found.p8, "p4": found.p4}

    def concepts(self, levels: Levels, frame: Tensor, texts: list[str], top: int) -> Concepts:
        """The best answers; a place belongs to the concept as far as a good query's mask covers it."""
        _, prompt, pad = self.text(texts)
        p16, p8, p4 = (levels[name][frame] for name in LEVELS)
        out = self.student.detector(p16, p8, p4, prompt, pad)
        logits = out.decoded.logits[-1]
        best = logits.topk(min(max(top, SHOWN), logits.shape[1])).indices  # [C, k], the best first
        boxes, score = rows_of(out.decoded.boxes[-1], best), logits.gather(1, best)
        masks = self.student.detector.masks(rows_of(out.decoded.queries[-1], best), boxes, out.pixels)
        semantic = torch.minimum(masks, score[..., None, None]).amax(1)
        return Concepts(boxes[:, :top], score[:, :top], out.decoded.presence[-1], masks[:, :top], semantic)
