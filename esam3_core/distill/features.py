# SPDX-License-Identifier: Apache-2.0
"""Losses of stage 1 on features: squared error and direction, at every place that is no padding; and the adapters that
bring a student's maps to a teacher's channels and grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esam3_core.distill.teacher import STUDENT_LEVEL, Levels, Teacher
from esam3_core.nn.student import Features


class Adapters(nn.Module):
    """One 1 x 1 convolution per level of the teacher. Thrown away after stage 1.

    Args:
        width: d of the student.
        teacher: whose channels and grids are wanted.
        levels: names of the levels.
        direct: no convolutions: the student's maps must become the teacher's own, because it has the teacher's heads.
    """

    def __init__(self, width: int, teacher: Teacher, levels: tuple[str, ...], direct: bool = False) -> None:
        super().__init__()
        own = {"p16": width, "p8": width // 4, "p4": width // 8}
        self.sides = {name: teacher.sides[name] for name in levels}
        self.convolutions = nn.ModuleDict(
            {
                name: nn.Identity() if direct else nn.Conv2d(own[STUDENT_LEVEL[name]], teacher.channels[name], 1)
                for name in levels
            }
        )

    def forward(self, features: Features) -> Levels:
        """A student's features -> the teacher's levels."""
        found = {}
        for name, convolution in self.convolutions.items():
            own: Tensor = getattr(features, STUDENT_LEVEL[name])
            side = self.sides[name]
            if own.shape[-1] != side:
                own = F.interpolate(own, (side, side), mode="bilinear", align_corners=False)
            found[name] = convolution(own)
        return found


def feature_loss(ours: Tensor, theirs: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error, as a share of the teacher's own power, and 1 - cosine; means over places that are valid.

    Args:
        ours, theirs: [B, C, h, w], or tokens [C, d, 1, L].
        valid: [B, 1, h', w'] share of each cell that is no padding; where less than half is, nothing is asked.
    """
    weight = (F.adaptive_avg_pool2d(valid.float(), (ours.shape[-2], ours.shape[-1])) >= 0.5).float()  # [B, 1, h, w]
    count = weight.sum().clamp(min=1.0)
    power = ((theirs**2).sum(1, keepdim=True) * weight).sum() / count
    error = (((ours - theirs) ** 2).sum(1, keepdim=True) * weight).sum() / count
    turned = ((1 - F.cosine_similarity(ours, theirs, dim=1))[:, None] * weight).sum() / count
    return error / power.clamp(min=1e-6), turned


def feature_losses(ours: Levels, theirs: Levels, valid: Tensor) -> dict[str, Tensor]:
    """Means of `feature_loss` over the levels that both have."""
    pairs = [feature_loss(ours[name], theirs[name].detach(), valid) for name in theirs if name in ours]
    return {
        "mse": torch.stack([error for error, _ in pairs]).mean(),
        "cosine": torch.stack([turned for _, turned in pairs]).mean(),
    }


def token_losses(ours: Tensor, theirs: Tensor, pad: Tensor) -> dict[str, Tensor]:
    """Squared error and 1 - cosine of text tokens [C, L, d] that are no padding (pad: bool [C, L])."""
    valid = (~pad)[:, None, None, :].float()
    error, turned = feature_loss(
        ours.transpose(1, 2)[:, :, None], theirs.detach().transpose(1, 2)[:, :, None], valid
    )
    return {"text_mse": error, "text_cosine": turned}
