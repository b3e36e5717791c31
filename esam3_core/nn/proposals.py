# SPDX-License-Identifier: Apache-2.0
"""Proposals: the decoder's queries are the image tokens that look most like the concept.

Learned queries (SAM 3) need far more pictures to find their place than a small student sees. Here every token is
scored and draws a box; the best become queries, their boxes the first references (two-stage DETR, RT-DETR).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esam3_core.nn.layers import MLP, grid_centres, inverse_sigmoid
from esam3_core.nn.scoring import PromptScore

PEAK_PENALTY = 2.0  # logits taken from a token whose neighbour scores higher: one object, few queries
ANCHOR_SIZE = 0.15  # side of the box that an untrained token draws, as a share of the picture


class Proposals(nn.Module):
    """Tokens -> Q queries with first boxes."""

    def __init__(self, queries: int, width: int, ffn: int) -> None:
        super().__init__()
        self.queries = queries
        self.norm = nn.LayerNorm(width)
        self.score = PromptScore(width, ffn)
        self.box = MLP(width, width, width, 4)
        self.out = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))

    def dense(self, tokens: Tensor, grid: tuple[int, int], prompt: Tensor, pad: Tensor) -> tuple[Tensor, Tensor]:
        """Every token's logit [C, N] and box [C, N, 4] (cxcywh, 0..1)."""
        tokens = self.norm(tokens)
        logits = self.score(tokens, self.score.summary(prompt, pad))
        centres = grid_centres(*grid).to(tokens)  # [N, 2]
        anchors = torch.cat([centres, torch.full_like(centres, ANCHOR_SIZE)], -1)
        boxes = (self.box(tokens) + inverse_sigmoid(anchors)).sigmoid()
        return logits, boxes

    def forward(
        self, tokens: Tensor, logits: Tensor, boxes: Tensor, match: Tensor, grid: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The Q best tokens as queries.

        Args:
            tokens: [C, N, d]; logits, match: [C, N]; boxes: [C, N, 4]; grid: (h, w) with h * w = N.

        Returns:
            Queries [C, Q, d], references [C, Q, 4], and evidence [C, Q]: what is already known of each query's score.
            Gradients reach the queries only.
        """
        concepts, count, width = tokens.shape
        field = logits.detach().reshape(concepts, 1, *grid)
        highest = F.max_pool2d(field, 3, stride=1, padding=1)
        ranked = (field - PEAK_PENALTY * (field < highest).to(field.dtype)).reshape(concepts, count)
        best = ranked.topk(min(self.queries, count), dim=1).indices  # [C, Q]
        queries = torch.gather(tokens, 1, best[..., None].expand(-1, -1, width))
        references = torch.gather(boxes.detach(), 1, best[..., None].expand(-1, -1, 4))
        evidence = torch.gather((logits + match).detach(), 1, best)
        return self.out(queries), references, evidence
