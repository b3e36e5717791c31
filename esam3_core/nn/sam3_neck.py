# SPDX-License-Identifier: Apache-2.0
"""Neck `sam3`: that of official checkpoints, from the trunk's last map to three maps of 256 channels.

Upstream enlarges the 1024 channels of the stride-32 map first and convolves then. Enlarging is linear and treats
every channel alike, so 1x1 and transposed 2x2 convolutions give the same numbers before it, on a fifth of the
pixels; and two of these with nothing between them are one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.nn.neck import ConvNorm
from esam3_core.nn.strips import strips

HIDDEN = 1024  # channels of SAM 3's image map, which the students' heads imitate


class Pyramid(nn.Module):
    """The projected map -> P16, P8, P4 (in pixels of a cell: 14, 7, 3.5).

    Args:
        width: d, channels of P16.
        grid: cells along a side of P16.
        fine: channels of P8 and P4; None = d.
    """

    def __init__(self, width: int, grid: int, fine: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.grid = grid
        fine8, fine4 = fine or (width, width)
        self.to16 = nn.Conv2d(HIDDEN, width, 1)
        self.smooth16 = nn.Conv2d(width, width, 3, padding=1)
        self.to8 = nn.Conv2d(HIDDEN, 4 * width, 1)
        self.smooth8 = nn.Conv2d(width, fine8, 3, padding=1)
        self.to4 = nn.Conv2d(HIDDEN, 4 * (HIDDEN // 2), 1)
        self.fine4 = nn.Conv2d(HIDDEN // 2, 4 * width, 1)
        self.smooth4 = nn.Conv2d(width, fine4, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map [B, HIDDEN, S/32, S/32] -> P16 [B, d, g, g], P8 [B, d, 2g, 2g], P4 [B, d, 4g, 4g]."""
        p16 = self.smooth16(self.enlarge(self.to16(x)))
        p8 = self.smooth8(spread(self.enlarge(self.to8(x))))
        middle = spread(functional.gelu(self.enlarge(self.to4(x))))  # [B, HIDDEN / 2, 2g, 2g]
        side = 4 * self.grid
        p4 = torch.cat([
            strip.smooth(self.smooth4, strip.enlarged(middle, self._finer))
            for strip in strips(self.smooth4.in_channels, side, side)
        ], 2)  # fmt: skip
        return p16, p8, p4

    def _finer(self, middle: Tensor) -> Tensor:
        """Rows of P8's size to rows of P4's size."""
        return spread(self.fine4(middle))

    def enlarge(self, x: Tensor) -> Tensor:
        """Any map to the cells of P16, bilinear."""
        return functional.interpolate(x, size=(self.grid, self.grid), mode="bilinear", align_corners=False)


class Sam3Neck(nn.Module):
    """The trunk's last map -> P16, P8, P4.

    Args:
        channels: of the trunk's last map.
        width: d.
        grid: cells along a side of P16.
    """

    def __init__(self, channels: int, width: int, grid: int) -> None:
        super().__init__()
        self.project = nn.Sequential(
            ConvNorm(channels, HIDDEN), nn.GELU(), nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1)
        )
        self.pyramid = Pyramid(width, grid)

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The last of the trunk's maps [B, channels, S/32, S/32] -> P16, P8, P4 as `Pyramid` gives them."""
        return self.pyramid(self.project(maps[-1]))


def spread(x: Tensor) -> Tensor:
    """Channels to pixels, as a 2x2 convolution with stride 2 transposed: [B, 4c, h, w] -> [B, c, 2h, 2w]."""
    return functional.pixel_shuffle(x, 2)
