# SPDX-License-Identifier: Apache-2.0
"""Prompt encoder of the SAM heads: points and corners of boxes as tokens, places as random Fourier features (SAM)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.nn.layers import grid_centres

LABELS = 4  # 0 negative, 1 positive, 2 upper left corner, 3 lower right corner; -1 is padding


class PromptEncoder(nn.Module):
    """Points -> tokens.

    Args:
        width: d.
    """

    fourier: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("fourier", torch.randn(2, width // 2))
        self.label = nn.Parameter(torch.randn(LABELS, width) * 0.1)
        self.nothing = nn.Parameter(torch.randn(1, width) * 0.1)
        self.no_mask = nn.Parameter(torch.zeros(width))

    def place(self, points: Tensor) -> Tensor:
        """Points [..., 2] (x, y in 0..1) -> [..., d]."""
        angles = (2 * points - 1) @ self.fourier * (2 * math.pi)
        return torch.cat([angles.sin(), angles.cos()], -1)

    def grid(self, height: int, width: int) -> Tensor:
        """Places of a map's cells: [height * width, d]."""
        return self.place(grid_centres(height, width).to(self.fourier))

    def forward(self, points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode prompts.

        Args:
            points: [T, K, 2], x and y in 0..1; labels: int64 [T, K], see `LABELS`; padding comes last.

        Returns:
            Tokens [T, K + 1, d] and which of them count, bool [T, K + 1]: as in SAM, a track sees its own points and
            one empty token, two empty ones if it has no point.
        """
        tracks = points.shape[0]
        points = torch.cat([points, torch.zeros_like(points[:, :1])], 1)
        labels = torch.cat([labels, torch.full_like(labels[:, :1], -1)], 1)  # [T, K + 1]
        real = (labels >= 0).to(points.dtype)[..., None]
        table = torch.cat([self.nothing, self.label])
        tokens = self.place(points) * real + functional.embedding(labels + 1, table)
        last = real.sum(1).clamp(min=1.0)  # [T, 1]
        order = torch.arange(labels.shape[1], device=points.device).to(points.dtype)
        return tokens, (order <= last).expand(tracks, -1)
