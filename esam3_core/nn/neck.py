# SPDX-License-Identifier: Apache-2.0
"""Neck `fpn`: a top-down pyramid from the trunk's own strides (FPN, Lin et al. 2017, section 3)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from esam3_core.nn.layers import MLP, Attention, grid_centres, sine_embedding


class ConvNorm(nn.Sequential):
    """Convolution and BatchNorm, which fold into one node at export."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        )


class Context(nn.Module):
    """One self-attention layer on the stride-32 map: the whole picture for the price of S/32 x S/32 tokens
    (RT-DETR's intra-scale interaction). It is concept-free, so every concept shares its cost."""

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, ffn, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, columns = x.shape
        tokens = x.flatten(2).transpose(1, 2)  # [B, N, d]
        position = sine_embedding(grid_centres(height, columns).to(x.device), width // 2)  # [N, d]
        y = self.norm1(tokens)
        tokens = tokens + self.attention(y + position, y + position, y)
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(batch, width, height, columns)


class FPN(nn.Module):
    """Trunk maps -> P16, P8, P4.

    Args:
        channels: of the trunk's maps at strides 4, 8, 16, 32.
        width: d; P16 has d channels, P8 d/4, P4 d/8.
    """

    def __init__(self, channels: list[int], width: int, heads: int, ffn: int) -> None:
        super().__init__()
        c4, c8, c16, c32 = channels
        self.lateral32 = ConvNorm(c32, width)
        self.context = Context(width, heads, ffn)
        self.lateral16 = ConvNorm(c16, width)
        self.smooth16 = ConvNorm(width, width, 3)
        self.top8 = ConvNorm(width, width // 4)
        self.lateral8 = ConvNorm(c8, width // 4)
        self.smooth8 = ConvNorm(width // 4, width // 4, 3)
        self.top4 = ConvNorm(width // 4, width // 8)
        self.lateral4 = ConvNorm(c4, width // 8)
        self.smooth4 = ConvNorm(width // 8, width // 8, 3)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Maps [B, c, S/s, S/s] -> P16 [B, d, S/16, S/16], P8 [B, d/4, S/8, S/8], P4 [B, d/8, S/4, S/4]."""
        x4, x8, x16, x32 = maps
        top = self.context(self.lateral32(x32))
        p16 = self.smooth16((self.lateral16(x16) + double(top)).relu())
        p8 = self.smooth8((self.lateral8(x8) + double(self.top8(p16))).relu())
        p4 = self.smooth4((self.lateral4(x4) + double(self.top4(p8))).relu())
        return p16, p8, p4


def double(x: Tensor) -> Tensor:
    """Twice the height and width, by repetition."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
