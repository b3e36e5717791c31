# SPDX-License-Identifier: Apache-2.0
"""Decoder: queries and a presence token, boxes refined layer by layer (SAM 3, detector).

Post-norm layers in SAM 3's order: self-attention with the presence token first, attention to the prompt, attention to
the image with a box-relative bias, feed-forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.nn.layers import LONG, MLP, Attention, Sides, inverse_sigmoid, sine_embedding
from esam3_core.nn.scoring import PromptScore


class BoxBias(nn.Module):
    """Attention bias from where a pixel lies relative to a query's box (log box-relative position bias)."""

    def __init__(self, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.x = MLP(2, hidden, heads)
        self.y = MLP(2, hidden, heads)

    def forward(self, boxes: Tensor, grid: tuple[int, int]) -> Tensor:
        """Boxes [C, Q, 4] cxcywh and a grid (h, w) -> bias [C, heads, 1 + Q, h * w].

        The first row is zero: the presence token has no box.
        """
        down, across = self.sides(boxes, grid)
        return (down[..., :, None] + across[..., None, :]).flatten(3)

    def sides(self, boxes: Tensor, grid: tuple[int, int]) -> Sides:
        """What is added up for each cell: what its row, and what its column gives."""
        height, width = grid
        centre, half = boxes[..., :2], boxes[..., 2:] / 2
        low, high = centre - half, centre + half
        across = self.x(_relative(low[..., 0], high[..., 0], width))  # [C, Q, w, heads]
        down = self.y(_relative(low[..., 1], high[..., 1], height))  # [C, Q, h, heads]
        # What is small is put in order first: the sum is the largest thing in the decoder.
        return _heads_first(down), _heads_first(across)


def _heads_first(side: Tensor) -> Tensor:
    """[C, Q, cells, heads] -> [C, heads, 1 + Q, cells], the first row zero."""
    return functional.pad(side.permute(0, 3, 1, 2), (0, 0, 1, 0))


def _relative(low: Tensor, high: Tensor, cells: int) -> Tensor:
    """Signed log distance of each cell to both sides of a box: [C, Q] x 2 -> [C, Q, cells, 2]."""
    cell = torch.arange(cells, device=low.device, dtype=low.dtype) / cells
    distance = cell[:, None] - torch.stack([low, high], -1)[..., None, :]
    return distance.sign() * (distance.abs() * 8 + 1).log2() / math.log2(8)


class DecoderLayer(nn.Module):
    """One post-norm layer over [presence token, queries]."""

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.self_attention = Attention(width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.prompt_attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.image_attention = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = MLP(width, ffn, width)
        self.norm4 = nn.LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        position: Tensor,
        prompt: Tensor,
        prompt_bias: Tensor,
        image: Tensor,
        image_key: Tensor,
        image_bias: Tensor | Sides,
    ) -> Tensor:
        q = x + position
        x = self.norm1(x + self.self_attention(q, q, x))
        x = self.norm2(x + self.prompt_attention(x + position, prompt, prompt, prompt_bias))
        x = self.norm3(x + self.image_attention(x + position, image_key, image, image_bias))
        return self.norm4(x + self.mlp(x))


@dataclass
class Decoded:
    """Output of every decoder layer, first to last."""

    queries: list[Tensor]  # [C, Q, d], normalised
    logits: list[Tensor]  # [C, Q]
    boxes: list[Tensor]  # [C, Q, 4] cxcywh, 0..1
    presence: list[Tensor]  # [C]


class Decoder(nn.Module):
    """Refines queries and says whether the concept is there at all."""

    def __init__(self, layers: int, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads, ffn) for _ in range(layers))
        self.presence_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = MLP(2 * width, width, width)
        self.box_bias = BoxBias(heads, width)
        self.norm = nn.LayerNorm(width)
        self.box = MLP(width, width, width, 4)
        self.score = PromptScore(width, ffn)
        self.presence_norm = nn.LayerNorm(width)
        self.presence = MLP(width, width, width, 1)
        nn.init.normal_(self.presence_token, std=0.02)

    def forward(
        self,
        queries: Tensor,
        references: Tensor,
        evidence: Tensor,
        prompt: Tensor,
        pad: Tensor,
        prompt_bias: Tensor,
        image: Tensor,
        position: Tensor,
        grid: tuple[int, int],
    ) -> Decoded:
        """Decode.

        Args:
            queries: [C, Q, d]; references: [C, Q, 4] first boxes.
            evidence: [C, Q] logits that the proposals give the queries. The decoder corrects them instead of starting
                anew: the image tokens learn what a concept looks like from far fewer pictures than queries do.
            prompt: [C, L, d]; pad: [C, L], True = padding; prompt_bias: the same as attention bias.
            image: fused tokens [C, N, d]; position: [N, d]; grid: (h, w) with h * w = N.
        """
        concepts, _, width = queries.shape
        x = torch.cat([self.presence_token.expand(concepts, -1, -1), queries], 1)  # [C, 1+Q, d]
        summary = self.score.summary(prompt, pad)
        decoded = Decoded([], [], [], [])
        for layer in self.layers:
            place = self.position(sine_embedding(references, width // 2))  # [C, Q, d]
            place = torch.cat([torch.zeros_like(place[:, :1]), place], 1)
            bias: Tensor | Sides
            if torch.onnx.is_in_onnx_export() and self.box_bias.heads * x.shape[1] * image.shape[1] >= LONG:
                bias = self.box_bias.sides(references, grid)
            else:
                bias = self.box_bias(references, grid)  # [C, heads, 1 + Q, N]
            x = layer(x, place, prompt, prompt_bias, image, image + position, bias)
            hidden = self.norm(x[:, 1:])
            boxes = (self.box(hidden) + inverse_sigmoid(references)).sigmoid()
            decoded.queries.append(hidden)
            decoded.logits.append(evidence + self.score(hidden, summary))
            decoded.boxes.append(boxes)
            decoded.presence.append(evidence.amax(1) + self.presence(self.presence_norm(x[:, 0]))[:, 0])
            references = boxes.detach()
        return decoded
