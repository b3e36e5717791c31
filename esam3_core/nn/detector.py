# SPDX-License-Identifier: Apache-2.0
"""Detector: features of a frame and the prompt of a concept -> boxes, logits, presence and masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from esam3_core.config import StudentConfig
from esam3_core.nn.align import Alignment
from esam3_core.nn.decoder import Decoded, Decoder
from esam3_core.nn.fusion import FusionEncoder
from esam3_core.nn.layers import grid_centres, pad_bias, sine_embedding
from esam3_core.nn.masks import MaskHead, PixelEmbedding
from esam3_core.nn.proposals import Proposals


@dataclass
class Detected:
    """Everything the detector says of C (frame, concept) pairs."""

    match: Tensor  # [C, N] alignment logits per image token
    dense_logits: Tensor  # [C, N] proposal logits per image token
    dense_boxes: Tensor  # [C, N, 4] cxcywh, 0..1
    decoded: Decoded
    pixels: Tensor  # [D, e, S/4, S/4] of the pairs that were to be drawn
    drawn: Tensor | None = None  # int64 [D], which pairs these are; None = all


@dataclass
class Fused:
    """A frame's tokens, each of which has looked at the others and at the prompt."""

    tokens: Tensor  # [C, N, d]
    match: Tensor  # [C, N] alignment logits, from before that
    position: Tensor  # [N, d]
    grid: tuple[int, int]  # h, w; h * w = N


class Detector(nn.Module):
    """Alignment -> fusion encoder -> proposals -> decoder -> mask head."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width, heads, ffn = config.width, config.heads, config.ffn
        self.context = config.text.context
        self.align = Alignment(width)
        self.fusion = FusionEncoder(config.encoder_layers, width, heads, ffn)
        self.proposals = Proposals(config.queries, width, ffn)
        self.decoder = Decoder(config.decoder_layers, width, heads, ffn)
        self.pixels = PixelEmbedding(width, config.pixel_width)
        self.masks = MaskHead(width, config.pixel_width)

    def forward(
        self, p16: Tensor, p8: Tensor, p4: Tensor, prompt: Tensor, pad: Tensor, drawn: Tensor | None = None
    ) -> Detected:
        """Look for each concept.

        Args:
            p16, p8, p4: features [C, ...] (see `student.Features`); p8 and p4 may have batch 1 when every concept looks
                at one frame.
            prompt: [C, L, d], tokens of the phrase and behind them, from its context length on, those of exemplars;
                pad: [C, L], True = padding.
            drawn: int64 [D], training only: the pairs whose pixels are wanted, and whose p8 and p4 [D, ...] are given;
                pixels at stride 4 cost much, and a concept that is absent needs none.
        """
        fused = self.fuse(p16, prompt, pad)
        return self.find(fused, self.draw(fused, p8, p4, drawn), prompt, pad, drawn)

    def fuse(self, p16: Tensor, prompt: Tensor, pad: Tensor) -> Fused:
        """What the frame's tokens know of each concept; arguments as above."""
        height, columns = p16.shape[2:]
        tokens = p16.flatten(2).transpose(1, 2)  # [C, N, d]
        match = self.align.paired(tokens, concept_summary(prompt, pad, self.context))
        tokens = self.align.write(tokens, match)
        position = sine_embedding(grid_centres(height, columns).to(p16), tokens.shape[2] // 2)  # [N, d]
        return Fused(self.fusion(tokens, position, prompt, pad_bias(pad)), match, position, (height, columns))

    def draw(self, fused: Fused, p8: Tensor, p4: Tensor, drawn: Tensor | None = None) -> Tensor:
        """The pixels of all pairs, or of those that are drawn."""
        tokens = fused.tokens if drawn is None else fused.tokens[drawn]
        return self.pixels(tokens.transpose(1, 2).unflatten(2, fused.grid), p8, p4)

    def find(
        self, fused: Fused, pixels: Tensor, prompt: Tensor, pad: Tensor, drawn: Tensor | None = None
    ) -> Detected:
        """Proposals and what the decoder makes of them."""
        tokens, grid = fused.tokens, fused.grid
        dense_logits, dense_boxes = self.proposals.dense(tokens, grid, prompt, pad)
        proposed = self.proposals(tokens, dense_logits, dense_boxes, fused.match, grid)
        decoded = self.decoder(*proposed, prompt, pad, pad_bias(pad), tokens, fused.position, grid)
        return Detected(fused.match, dense_logits, dense_boxes, decoded, pixels, drawn)


def concept_summary(prompt: Tensor, pad: Tensor, context: int) -> Tensor:
    """What stands for a whole concept: the first token of its phrase, of its exemplars, or the mean of both.

    Args:
        prompt: [C, L, d]; pad: [C, L]; context: tokens of a phrase.

    Returns:
        [C, d]
    """
    if prompt.shape[1] <= context:
        return prompt[:, 0]
    there = 1.0 - torch.stack([pad[:, 0], pad[:, context]], 1).to(prompt.dtype)[..., None]  # [C, 2, 1]
    both = torch.stack([prompt[:, 0], prompt[:, context]], 1)
    return (both * there).sum(1) / there.sum(1).clamp(min=1.0)
