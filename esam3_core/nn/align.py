# SPDX-License-Identifier: Apache-2.0
"""Alignment: how well each image token matches a concept, before any attention.

A contrastive map between image tokens and the concept's summary token (as in SigLIP, per token). It is trained
densely against every phrase of a batch, so it learns from far fewer pictures than the query decoder, and its map
tells the fusion encoder where to look.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Alignment(nn.Module):
    """Image tokens x concepts -> match logits, and the tokens with that knowledge added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.concept = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        self.bias = nn.Parameter(torch.tensor(-4.0))
        self.match = nn.Sequential(nn.Linear(1, width), nn.ReLU(), nn.Linear(width, width))

    def logits(self, tokens: Tensor, summary: Tensor) -> Tensor:
        """Tokens [B, N, d] against concept summaries [M, d] -> logits [B, N, M]."""
        image = F.normalize(self.image(tokens), dim=-1)
        concept = F.normalize(self.concept(summary), dim=-1)
        return image @ concept.t() * self.log_scale.exp() + self.bias

    def paired(self, tokens: Tensor, summary: Tensor) -> Tensor:
        """Tokens [C, N, d] (or [1, N, d]) each against its own summary [C, d] -> logits [C, N]."""
        image = F.normalize(self.image(tokens), dim=-1)
        concept = F.normalize(self.concept(summary), dim=-1)
        return (image * concept[:, None]).sum(-1) * self.log_scale.exp() + self.bias

    def write(self, tokens: Tensor, match: Tensor) -> Tensor:
        """Tokens [C, N, d] with their match logits [C, N] written into them."""
        return tokens + self.match(match[..., None] * 0.25)
