# SPDX-License-Identifier: Apache-2.0
"""Detector of official checkpoints (SAM 3), out of the blocks that our own students have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from esam3_core.config import StudentConfig
from esam3_core.nn.decoder import Decoded, Decoder
from esam3_core.nn.fusion import FusionEncoder
from esam3_core.nn.layers import pad_bias, sine_map
from esam3_core.nn.sam3_masks import Sam3MaskHead, Sam3Pixels
from esam3_core.nn.sam3_prompts import GeometryEncoder


@dataclass
class Grounded:
    """Everything the detector says of C concepts."""

    tokens: Tensor  # [C, N, d] fused image tokens
    decoded: Decoded
    pixels: list[Tensor]  # strips of [C, d, 4g, 4g], top to bottom; one outside of graphs


class Sam3Detector(nn.Module):
    """Geometry encoder -> fusion encoder -> decoder with learned queries -> mask head."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        width, heads, ffn = config.width, config.heads, config.ffn
        self.context = config.text.context
        self.geometry = GeometryEncoder(width, heads, ffn)
        self.fusion = FusionEncoder(config.encoder_layers, width, heads, ffn)
        self.queries = nn.Parameter(torch.randn(config.queries, width))
        self.references = nn.Parameter(torch.randn(config.queries, 4))  # logits of cxcywh
        self.decoder = Decoder(config.decoder_layers, width, heads, ffn)
        self.pixels = Sam3Pixels(width, heads)
        self.masks = Sam3MaskHead(width)

    def forward(self, p16: Tensor, p8: Tensor, p4: Tensor, prompt: Tensor, pad: Tensor) -> Grounded:
        """Look for each concept.

        Args:
            p16, p8, p4: features [C, d, ...], or [1, d, ...] when every concept looks at one frame.
            prompt: [C, L, d], tokens of the phrase and behind them, from its context length on, those of boxes and
                points; pad: [C, L], True = padding.
        """
        return self.ground(p16, p8, p4, *self.complete(p16, prompt, pad))

    def complete(self, p16: Tensor, prompt: Tensor, pad: Tensor) -> tuple[Tensor, Tensor]:
        """The prompt with the geometry encoder's summary behind it, which counts where there is no box and no point.

        Returns:
            Prompt [C, L + 1, d], padding [C, L + 1].
        """
        summary = self.geometry(p16)[0].expand(prompt.shape[0], -1, -1)  # [C, 1, d]
        absent = torch.cat([pad, torch.ones_like(pad[:, :1])], 1)[:, self.context :]
        is_given = (absent.float().amin(1, keepdim=True)) < 0.5  # [C, 1]
        return torch.cat([prompt, summary], 1), torch.cat([pad, is_given], 1)

    def ground(self, p16: Tensor, p8: Tensor, p4: Tensor, prompt: Tensor, pad: Tensor) -> Grounded:
        """As `forward`, with a prompt that is complete: phrase, points, boxes and summary."""
        concepts = prompt.shape[0]
        width, height, columns = p16.shape[1:]
        position = sine_map(height, columns, width).to(p16)  # [N, d]
        bias = pad_bias(pad)
        # With one frame for all concepts, what comes before the first look at the prompt is computed once.
        tokens = self.fusion(p16.flatten(2).transpose(1, 2), position, prompt, bias)  # [C, N, d]
        queries = self.queries.expand(concepts, -1, -1)
        references = self.references.sigmoid().expand(concepts, -1, -1)
        evidence = torch.zeros_like(references[..., 0])  # learned queries know nothing before they look
        decoded = self.decoder(
            queries, references, evidence, prompt, pad, bias, tokens, position, (height, columns)
        )
        return Grounded(tokens, decoded, self.pixels(tokens, prompt, bias, p8, p4))
