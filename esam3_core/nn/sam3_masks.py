# SPDX-License-Identifier: Apache-2.0
"""Mask head of official checkpoints: query embedding . pixel embedding at stride 3.5."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esam3_core.nn.layers import MLP, Attention
from esam3_core.nn.neck import double
from esam3_core.nn.strips import group_norm, strips

GROUPS = 8  # of the group norms


class Sam3Pixels(nn.Module):
    """Fused tokens look at the prompt once more; with the fine maps they give the pixel embedding."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.mix8 = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.ReLU())
        self.mix4 = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(GROUPS, width), nn.ReLU())

    def forward(self, tokens: Tensor, prompt: Tensor, prompt_bias: Tensor, p8: Tensor, p4: Tensor) -> list[Tensor]:
        """Fused tokens [C, N, d], prompt [C, L, d], P8 and P4 (batch C or 1) -> strips of [C, d, 4g, 4g]."""
        tokens = tokens + self.attention(self.norm(tokens), prompt, prompt, prompt_bias)
        fused = tokens.transpose(1, 2).unflatten(2, (p8.shape[2] // 2, p8.shape[3] // 2))  # [C, d, g, g]
        fine = self.mix8(p8 + double(fused))  # [C, d, 2g, 2g]
        smooth, norm, bend = self.mix4
        assert isinstance(smooth, nn.Conv2d) and isinstance(norm, nn.GroupNorm)
        parts = [
            strip.smooth(smooth, p4[:, :, strip.low : strip.high] + strip.enlarged(fine, double))
            for strip in strips(*p4.shape[1:])
        ]
        return [bend(part) for part in group_norm(norm, parts)]


class Sam3MaskHead(nn.Module):
    """Masks of chosen queries.

    Upstream maps every pixel of the embedding before it meets the queries; mapping the queries back is the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = MLP(width, width, width, width)
        self.pixel = nn.Linear(width, width)

    def forward(self, queries: Tensor, boxes: Tensor, pixels: list[Tensor]) -> Tensor:
        """Queries [C, k, d] and strips of pixels [C, d, H, W] -> logits [C, k, H, W]; boxes are not needed."""
        embedding = self.query(queries)  # [C, k, d]
        offset = embedding @ self.pixel.bias[:, None]  # [C, k, 1]
        mapped = embedding @ self.pixel.weight
        return torch.cat([(mapped @ rows.flatten(2) + offset).unflatten(2, rows.shape[-2:]) for rows in pixels], 2)
