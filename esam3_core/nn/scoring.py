# SPDX-License-Identifier: Apache-2.0
"""Dot-product scoring: how well a token fits the whole prompt (SAM 3, detector)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esam3_core.nn.layers import MLP


class PromptScore(nn.Module):
    """Logit of each token against the mean prompt token.

    Args:
        width: d.
        ffn: hidden channels of the prompt's MLP.
        prior: probability that an untrained score should give.
    """

    def __init__(self, width: int, ffn: int, prior: float = 0.02) -> None:
        super().__init__()
        self.prompt_mlp = MLP(width, ffn, width)
        self.prompt_norm = nn.LayerNorm(width)
        self.prompt_out = nn.Linear(width, width)
        self.token_out = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.tensor(prior / (1 - prior)).log())
        self.scale = width**-0.5

    def summary(self, prompt: Tensor, pad: Tensor) -> Tensor:
        """Prompt [C, L, d] and its padding [C, L] -> one vector per concept [C, d]."""
        prompt = self.prompt_norm(prompt + self.prompt_mlp(prompt))
        keep = (~pad).to(prompt.dtype)[..., None]  # [C, L, 1]
        return self.prompt_out((prompt * keep).sum(1) / keep.sum(1).clamp(min=1))

    def forward(self, tokens: Tensor, summary: Tensor) -> Tensor:
        """Tokens [C, N, d] against their concept's summary [C, d] -> logits [C, N] in -12..12."""
        logits = (self.token_out(tokens) @ summary[..., None])[..., 0] * self.scale
        return (logits + self.bias).clamp(-12.0, 12.0)
