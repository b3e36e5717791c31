# SPDX-License-Identifier: Apache-2.0
"""Memory encoder: the feature of a frame and a mask become one map to be remembered (SAM 2, section 4)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

MASK_SCALE, MASK_SHIFT = 20.0, -10.0  # a mask enters as probability x 20 - 10


class MapNorm(nn.Module):
    """LayerNorm over the channels of a map, through a real LayerNorm so that engines keep its precision."""

    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same shape."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MaskEmbedding(nn.Module):
    """A mask, halved several times, as a map of `width` channels."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        widths = [1, *(width // 4 ** (layers - 1 - i) for i in range(layers))]
        self.halve = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(MapNorm(b) for b in widths[1:])
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, mask: Tensor) -> Tensor:
        """[T, 1, H, W] -> [T, width, H / 2^layers, W / 2^layers]."""
        for halve, norm in zip(self.halve, self.norms, strict=True):
            mask = F.gelu(norm(halve(mask)))
        return self.out(mask)


class MemoryBlock(nn.Module):
    """ConvNeXt block: what lies around, then channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, 1e-6)
        self.expand = nn.Linear(width, 4 * width)
        self.shrink = nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(self.shrink.weight.new_full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """[T, width, h, w] -> the same shape."""
        y = self.norm(self.around(x).permute(0, 2, 3, 1))
        y = self.gamma * self.shrink(F.gelu(self.expand(y)))
        return x + y.permute(0, 3, 1, 2)


class MemoryEncoder(nn.Module):
    """Feature and mask -> map of m channels.

    Args:
        width: d; inner: channels in which both are merged; memory_width: m.
        layers: blocks; mask_layers: halvings from the mask to the map.
    """

    def __init__(self, width: int, inner: int, memory_width: int, layers: int, mask_layers: int) -> None:
        super().__init__()
        self.mask = MaskEmbedding(mask_layers, inner)
        self.feature = nn.Conv2d(width, inner, 1)
        self.blocks = nn.ModuleList(MemoryBlock(inner) for _ in range(layers))
        self.out = nn.Conv2d(inner, memory_width, 1)

    def forward(self, feature: Tensor, mask: Tensor) -> Tensor:
        """Feature [1 or T, d, h, w] and probabilities [T, H, W], H = h x 2^mask_layers -> [T, m, h, w]."""
        x = self.feature(feature) + self.mask(mask[:, None] * MASK_SCALE + MASK_SHIFT)
        for block in self.blocks:
            x = block(x)
        return self.out(x)
