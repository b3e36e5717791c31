# SPDX-License-Identifier: Apache-2.0
"""Text encoders of CLIP's family: MobileCLIP-S0, S1 and 2-L (EfficientSAM3, SAM3-LiteText) and SAM 3's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.config import TextConfig
from esam3_core.nn.text import TextBlock

KERNEL = 11  # tokens that a mixer sees


class Mixer(nn.Module):
    """RepMixer (MobileCLIP, section 3.2) with its batch norms and layer scales folded into the weights.

    Two convolutions along the phrase, each channel by itself: the first takes the place of attention, the second
    opens the feed-forward block. Beyond the ends of the phrase there are zeros.

    Args:
        width: channels of a token.
        ffn: channels of the feed-forward block.
    """

    def __init__(self, width: int, ffn: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.gather = nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width)
        self.expand = nn.Linear(width, ffn)
        self.shrink = nn.Linear(ffn, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Tokens [C, L, width] -> [C, L, width]; `bias` belongs to attention and is not read."""
        mixed = self.mix(x.transpose(1, 2))  # [C, width, L]
        gathered = self.gather(mixed).transpose(1, 2)  # [C, L, width]
        return mixed.transpose(1, 2) + self.shrink(functional.gelu(self.expand(gathered)))


class ClipTextEncoder(nn.Module):
    """Token ids -> prompt tokens of the detector.

    Pads are not masked: they attend and are attended to, so that the context length is part of the weights.

    Args:
        config: sizes, with `kind` "clip".
        width: channels d of the prompt tokens.
    """

    later: Tensor | None

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.width)
        self.position = nn.Parameter(torch.randn(config.context, config.width) * 0.02)
        layers: list[nn.Module] = [
            TextBlock(config.width, config.heads, config.ffn) for _ in range(config.layers)
        ]
        if config.mixers:
            layers = [Mixer(config.width, config.ffn), *layers, Mixer(config.width, config.ffn)]
        self.blocks = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(config.width)
        self.project = nn.Linear(config.width, width)
        later = torch.full((config.context, config.context), -1e4).triu(1) if config.causal else None  # [L, L]
        self.register_buffer("later", later, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids int64 [C, L] (L = context) -> prompt tokens [C, L, d], those of pads included."""
        x = self.token(tokens) + self.position  # [C, L, width]
        for block in self.blocks:
            x = block(x, self.later)
        return self.project(self.norm(x))
