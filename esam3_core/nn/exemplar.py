# SPDX-License-Identifier: Apache-2.0
"""Exemplar encoder: boxes that show a concept, or what it is not, as prompt tokens (SAM 3, geometry encoder)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.nn.layers import MLP, Attention, pad_bias, sine_embedding

BINS = 3  # parts along each side of a box whose features are kept apart


class ExemplarEncoder(nn.Module):
    """Boxes on a frame -> prompt tokens: one that sums up, then one per box.

    Args:
        width: d; heads, ffn: of the layer in which they exchange what they saw.
    """

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.summary = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.seen = nn.Linear(BINS * BINS * width, width)
        self.shape = nn.Linear(2 * (width // 2), width)
        self.label = nn.Parameter(torch.randn(3, width) * 0.02)  # padding, negative, positive
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, ffn, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, p16: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Encode exemplars.

        Args:
            p16: [1 or C, d, h, w]; boxes: [C, E, 4] cxcywh in 0..1; labels: int64 [C, E], 1 = such a thing,
                0 = not such a thing, -1 = padding.

        Returns:
            Prompt tokens [C, E + 1, d], and which are padding, bool [C, E + 1]; a concept without any exemplar is all
            padding.
        """
        concepts = labels.shape[0]
        # Where a thing lies says nothing about its kind: of the box only the size is told, of the features all.
        size = sine_embedding(boxes[..., 2:], self.shape.in_features // 2)
        kind = functional.embedding(labels + 1, self.label)
        tokens = self.seen(box_features(p16, boxes)) + self.shape(size) + kind  # [C, E, d]
        tokens = torch.cat([self.summary.expand(concepts, -1, -1), tokens], 1)
        none = (labels >= 0).sum(1, keepdim=True) == 0  # [C, 1]
        pad = torch.cat([none, labels < 0], 1)
        bias = pad_bias(torch.cat([torch.zeros_like(none), labels < 0], 1))
        y = self.norm1(tokens)
        tokens = tokens + self.attention(y, y, y, bias)
        return self.norm(tokens + self.mlp(self.norm2(tokens))), pad


def box_features(p16: Tensor, boxes: Tensor) -> Tensor:
    """Mean features of `BINS` x `BINS` parts of each box, exact for any size: [C, E, BINS * BINS * d].

    Args:
        p16: [1 or C, d, h, w]; boxes: [C, E, 4] cxcywh in 0..1.
    """
    concepts, count = boxes.shape[:2]
    width, height, columns = p16.shape[1:]
    down = _shares(boxes[..., 1], boxes[..., 3], height)  # [C, E, BINS, h]
    across = _shares(boxes[..., 0], boxes[..., 2], columns)  # [C, E, BINS, w]
    weights = down[:, :, :, None, :, None] * across[:, :, None, :, None, :]  # [C, E, BINS, BINS, h, w]
    weights = weights.reshape(concepts, count * BINS * BINS, height * columns)
    return (weights @ p16.flatten(2).transpose(1, 2)).reshape(concepts, count, BINS * BINS * width)


def _shares(centre: Tensor, side: Tensor, cells: int) -> Tensor:
    """How much each cell counts in each part of an interval: [C, E] x 2 -> [C, E, BINS, cells], parts sum to 1."""
    side = side.clamp(min=1e-3)
    edges = torch.arange(BINS + 1, device=centre.device).to(centre.dtype) / BINS - 0.5
    at = (centre[..., None] + side[..., None] * edges) * cells  # [C, E, BINS + 1]
    low, high = at[..., :-1, None], at[..., 1:, None]
    cell = torch.arange(cells, device=centre.device).to(centre.dtype)
    overlap = (torch.minimum(high, cell + 1) - torch.maximum(low, cell)).clamp(min=0)
    return overlap / overlap.sum(-1, keepdim=True).clamp(min=1e-6)
