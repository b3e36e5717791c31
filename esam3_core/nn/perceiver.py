# SPDX-License-Identifier: Apache-2.0
"""Perceiver: a map to be remembered becomes a few latents (EdgeTAM, section 3.3: 2D spatial perceiver).

Global latents see every cell. 2D latents see one window each and keep its place. Both know where the cells lie;
upstream's sketch of stage 2 left the places out and could not work.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esam3_core.nn.layers import MLP, Attention
from esam3_core.nn.rope import cell_places, sine_places


class PerceiverLayer(nn.Module):
    """Latents attend to cells, to each other (global ones), and pass a feed-forward block; pre-norm, one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm_cells = nn.LayerNorm(width)
        self.attention = Attention(width, 1)
        self.norm2 = nn.LayerNorm(width)
        self.self_attention = Attention(width, 1)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = MLP(width, 4 * width, width)

    def forward(self, latents: Tensor, cells: Tensor, places: Tensor, exchange: bool) -> Tensor:
        """Latents [B, n, m], cells [B, N, m] and their places, broadcastable to the cells -> [B, n, m]."""
        cells = self.norm_cells(cells) + places
        latents = latents + self.attention(self.norm1(latents), cells, cells)
        if exchange:
            y = self.norm2(latents)
            latents = latents + self.self_attention(y, y, y)
        return latents + self.mlp(self.norm3(latents))


class Perceiver(nn.Module):
    """Map [T, m, h, w] -> latents [T, latents_global + latents_2d, m].

    Args:
        width: m.
        latents_global: latents that see everything, without the two means that `likeness.py` adds.
        latents_2d: latents with a place, a square number: windows side by side.
        layers: depth.
    """

    def __init__(self, width: int, latents_global: int, latents_2d: int, layers: int) -> None:
        super().__init__()
        self.side = math.isqrt(latents_2d)
        self.latents = nn.Parameter(torch.randn(latents_global, width) * 0.5)
        # One latent for all windows: what it learns in one place holds in every other.
        self.window_latent = nn.Parameter(torch.randn(1, width) * 0.5)
        self.layers = nn.ModuleList(PerceiverLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        tracks, width = x.shape[:2]
        cells = x.flatten(2).transpose(1, 2)  # [T, N, m]
        places = sine_places(cell_places(*x.shape[2:]), width).to(x)  # [N, m]
        latents = self.latents.expand(tracks, -1, -1)
        windows, window_places = self._windows(x, cells)  # [T * n, cells, m], [T * n, cells, m]
        placed = self.window_latent + windows.mean(1, keepdim=True)  # [T * n, 1, m]
        for layer in self.layers:
            latents = layer(latents, cells, places, exchange=True)
            placed = layer(placed, windows, window_places, exchange=False)
        return self.norm(torch.cat([latents, placed.reshape(tracks, -1, width)], 1))

    def _windows(self, x: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
        """The map [T, m, h, w], whose cells are [T, N, m], cut into windows, and the places of the cells in them.

        It is resampled first where its side is no multiple of theirs.
        """
        tracks, width, height, columns = x.shape
        cell = max(1, math.ceil(max(height, columns) / self.side))
        full = cell * self.side
        if (height, columns) != (full, full):
            x = F.interpolate(x, (full, full), mode="bilinear", align_corners=False)
            cells = x.flatten(2).transpose(1, 2)
        places = sine_places(cell_places(full, full), width).to(x)  # [full * full, m]
        return self._cut(cells, cell), self._cut(places[None], cell).repeat(tracks, 1, 1)

    def _cut(self, cells: Tensor, cell: int) -> Tensor:
        """[B, n * cell * n * cell, m], row by row -> [B * n * n, cell * cell, m], windows row by row."""
        batch, _, width = cells.shape
        side = self.side
        parts = cells.reshape(batch, side, cell, side, cell, width).transpose(2, 3)
        return parts.reshape(batch * side * side, cell * cell, width)

    def places(self, height: int, width: int) -> Tensor:
        """Middles of the windows of a map, as `cell_places` counts: [latents_2d, 2], (y, x) in 0..1."""
        shift = torch.tensor([0.5 / height, 0.5 / width])
        return cell_places(self.side, self.side) - 0.5 / self.side + shift
