# SPDX-License-Identifier: Apache-2.0
"""Places of image tokens: sine tables, and rotary embedding (RoPE) in real numbers.

Channels are rotated in halves, not in neighbouring pairs as SAM 2 does it: engines fuse halves, and a permutation of
the projections' rows makes both the same function.
"""

from __future__ import annotations

import torch
from torch import Tensor

from esam3_core.nn.layers import sine_embedding


def cell_places(height: int, width: int) -> Tensor:
    """Places of a map's cells as SAM counts them, (y, x) in 0..1, row-major: [height * width, 2]."""
    y = (torch.arange(height) + 1.0) / (height + 1e-6)
    x = (torch.arange(width) + 1.0) / (width + 1e-6)
    return torch.stack([*torch.meshgrid(y, x, indexing="ij")], -1).flatten(0, 1)


def sine_places(places: Tensor, channels: int) -> Tensor:
    """Sine table of places [N, 2]: [N, channels]."""
    return sine_embedding(places, channels // 2)


def rope_waves(places: Tensor, channels: int, base: float, cells: float) -> Tensor:
    """Cosines and sines that rotate tokens at these places.

    Args:
        places: [N, 2], (y, x) in 0..1.
        channels: of the rotated tokens, a multiple of 4.
        base: longest wavelength over the shortest.
        cells: what the side of the frame counts as; neighbours one cell apart are turned by one radian.

    Returns:
        [2, N, channels / 2]
    """
    frequencies = base ** -(torch.arange(0, channels, 4).float() / channels)  # [channels / 4]
    across = places[:, 1:] * cells * frequencies  # [N, channels / 4]
    down = places[:, :1] * cells * frequencies
    angles = torch.cat([across, down], -1)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, waves: Tensor) -> Tensor:
    """Tokens [B, N, channels] rotated by waves [2, N, channels / 2]."""
    low, high = x.chunk(2, -1)
    return torch.cat([low * waves[0] - high * waves[1], high * waves[0] + low * waves[1]], -1)
