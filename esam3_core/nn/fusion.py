# SPDX-License-Identifier: Apache-2.0
"""Fusion encoder: image tokens look at each other and at the prompt (SAM 3, detector)."""

from __future__ import annotations

from torch import Tensor, nn

from esam3_core.nn.layers import MLP, Attention


class FusionLayer(nn.Module):
    """Pre-norm layer: self-attention, attention to the prompt, feed-forward."""

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.prompt_attention = Attention(width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = MLP(width, ffn, width)

    def forward(self, x: Tensor, position: Tensor, prompt: Tensor, prompt_bias: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.self_attention(y + position, y + position, y)
        x = x + self.prompt_attention(self.norm2(x), prompt, prompt, prompt_bias)
        return x + self.mlp(self.norm3(x))


class FusionEncoder(nn.Module):
    """A stack of fusion layers."""

    def __init__(self, layers: int, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(FusionLayer(width, heads, ffn) for _ in range(layers))

    def forward(self, tokens: Tensor, position: Tensor, prompt: Tensor, prompt_bias: Tensor) -> Tensor:
        """Tokens [C, N, d], position [N, d], prompt [C, L, d], prompt_bias [C, 1, 1, L] -> [C, N, d]."""
        for layer in self.layers:
            tokens = layer(tokens, position, prompt, prompt_bias)
        return tokens
