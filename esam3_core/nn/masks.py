# SPDX-License-Identifier: Apache-2.0
"""Mask head: query embedding . pixel embedding at stride 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esam3_core.nn.layers import MLP, grid_centres, sine_embedding
from esam3_core.nn.neck import double

POSITION_CHANNELS = 16  # of the pixel embedding that tell where a pixel is, so that twins get apart
BOX_MARGIN = 0.6  # a mask may reach this far from its box's centre, in box sides (0.5 is the box)
BOX_SLOPE = 30.0  # logits lost per box side beyond the margin


class PixelEmbedding(nn.Module):
    """Fused tokens and the fine maps -> pixel embedding of each concept at stride 4."""

    def __init__(self, width: int, pixel_width: int) -> None:
        super().__init__()
        self.from16 = nn.Conv2d(width, width // 4, 1)
        self.mix8 = nn.Sequential(
            nn.Conv2d(width // 4, width // 4, 3, padding=1), nn.GroupNorm(4, width // 4), nn.ReLU()
        )
        self.from8 = nn.Conv2d(width // 4, pixel_width, 1)
        self.from4 = nn.Conv2d(width // 8, pixel_width, 1)
        self.mix4 = nn.Sequential(
            nn.Conv2d(pixel_width, pixel_width, 3, padding=1), nn.GroupNorm(4, pixel_width), nn.ReLU()
        )
        self.out = nn.Conv2d(pixel_width, pixel_width, 1)

    def forward(self, fused: Tensor, p8: Tensor, p4: Tensor) -> Tensor:
        """Fused map [C, d, h, w], P8 and P4 (batch C or 1) -> [C, pixel_width + position, 4h, 4w]."""
        x = self.mix8(double(self.from16(fused)) + p8)
        x = self.out(self.mix4(double(self.from8(x)) + self.from4(p4)))
        height, width = x.shape[-2:]
        position = sine_embedding(grid_centres(height, width).to(x), POSITION_CHANNELS // 2, 20.0)
        position = position.t().reshape(1, POSITION_CHANNELS, height, width)
        return torch.cat([x, position.expand(x.shape[0], -1, -1, -1)], 1)


class MaskHead(nn.Module):
    """Masks of chosen queries."""

    def __init__(self, width: int, pixel_width: int) -> None:
        super().__init__()
        self.query = MLP(width, width, pixel_width + POSITION_CHANNELS + 1)

    def forward(self, queries: Tensor, boxes: Tensor, pixels: Tensor) -> Tensor:
        """Queries [C, k, d], their boxes [C, k, 4] cxcywh and pixels [C, e, H, W] -> logits [C, k, H, W]."""
        concepts, count, _ = queries.shape
        height, width = pixels.shape[-2:]
        embedding = self.query(queries)  # [C, k, e + 1]
        logits = embedding[..., :-1] @ pixels.flatten(2) + embedding[..., -1:]
        return logits.reshape(concepts, count, height, width) - outside(boxes, height, width)


def outside(boxes: Tensor, height: int, width: int) -> Tensor:
    """What a pixel loses for lying outside its box: 0 inside, growing beyond; [C, k, height, width]."""
    x = (torch.arange(width, device=boxes.device, dtype=boxes.dtype) + 0.5) / width
    y = (torch.arange(height, device=boxes.device, dtype=boxes.dtype) + 0.5) / height
    side = boxes[..., 2:].clamp(min=1e-3)
    far_x = (x - boxes[..., 0:1]).abs() / side[..., 0:1] - BOX_MARGIN  # [C, k, W]
    far_y = (y - boxes[..., 1:2]).abs() / side[..., 1:2] - BOX_MARGIN
    return BOX_SLOPE * (far_y.relu()[..., :, None] + far_x.relu()[..., None, :])
