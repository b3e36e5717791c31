# SPDX-License-Identifier: Apache-2.0
"""What stage 3 learns from a teacher beside the labels: whether a concept is there, where it is, and the features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from esam3_core.distill.batches import Batch
from esam3_core.distill.features import Adapters, feature_losses
from esam3_core.distill.losses import focal
from esam3_core.distill.teacher import Concepts, Teacher, TeacherError
from esam3_core.nn.detector import Detected
from esam3_core.nn.student import Features

TOP = 1  # queries that the teacher draws; only its map of places is learnt from


class Taught:
    """A teacher's terms. Boxes and masks are left to the labels, which know them better.

    Args:
        teacher: with concept heads.
        width: d of the student.
        direct: the student has the teacher's heads, so its features must become the teacher's own.

    Raises:
        TeacherError: the teacher has no concept heads.
    """

    def __init__(self, teacher: Teacher, width: int, direct: bool = False) -> None:
        if not teacher.concept_levels:
            raise TeacherError("this teacher has no concept heads: choose another teacher, or teacher.kind none")
        self.teacher = teacher
        self.adapters = Adapters(width, teacher, teacher.concept_levels, direct)

    def terms(self, features: Features, out: Detected, batch: Batch) -> dict[str, Tensor]:
        """Unweighted terms of a batch.

        Args:
            features: the student's, of the batch's pictures; out: what it says of the batch's pairs.
        """
        theirs = self.teacher.features(batch.frames)
        with torch.no_grad():
            told = self.teacher.concepts(theirs, batch.pair_frame, batch.texts, TOP)
        wanted = {name: theirs[name] for name in self.teacher.concept_levels}
        everywhere = batch.ignored.new_ones(len(batch.frames), 1, *batch.ignored.shape[1:])
        seen = feature_losses(self.adapters(features), wanted, everywhere)
        grid = (features.p16.shape[2], features.p16.shape[3])
        return {
            "taught_presence": F.binary_cross_entropy_with_logits(
                out.decoded.presence[-1], told.presence.sigmoid()
            ),
            "taught_match": match_term(out.match, told, grid),
            "taught_features": seen["mse"] + seen["cosine"],
        }


def match_term(match: Tensor, told: Concepts, grid: tuple[int, int]) -> Tensor:
    """How far the alignment map [C, N] is from where the teacher sees the concept, each place weighed so that a small
    object counts."""
    place = told.semantic.sigmoid() * told.presence.sigmoid()[:, None, None]
    if place.shape[1:] != grid:
        place = F.adaptive_avg_pool2d(place[:, None], grid)[:, 0]
    target = place.flatten(1)
    return focal(match, target, alpha=0.5).sum() / (target.sum() + 10.0)
