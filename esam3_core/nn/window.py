# SPDX-License-Identifier: Apache-2.0
"""A window of a frame's cells for each track: whatever was seen a moment ago need not be looked for everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """One square window per track, all of one size, inside the frame."""

    corner: Tensor  # int64 [T, 2], row and column of the first cell
    side: int  # w, cells
    grid: tuple[int, int]  # height and width of the frame, cells

    def tokens(self, x: Tensor) -> Tensor:
        """What the windows hold of the frame's tokens: [1 or T, N, c] -> [T, w * w, c]."""
        return _taken(x, self._cells(1))

    def waves(self, x: Tensor) -> Tensor:
        """The same of a table of waves: [2, N, c] -> [2, T, w * w, c]."""
        return x[:, self._cells(1)]

    def fine(self, x: Tensor, split: int) -> Tensor:
        """What they hold of a map [1 or T, c, ...] with `split` parts along a cell: [T, c, split w, split w]."""
        rows = _taken(x.flatten(2).transpose(1, 2), self._cells(split))  # [T, (split w)^2, c]
        side = split * self.side
        return rows.transpose(1, 2).unflatten(2, (side, side))

    def whole(self, rows: Tensor, split: int, elsewhere: float) -> Tensor:
        """The other way round: [T, (split w)^2, c] -> [T, split^2 N, c], with another number outside of the windows."""
        places = self._cells(split)[..., None].expand_as(rows)
        parts = split * split * self.grid[0] * self.grid[1]
        return rows.new_full((len(rows), parts, rows.shape[2]), elsewhere).scatter(1, places, rows)

    def _cells(self, split: int) -> Tensor:
        """Numbers of the windows' cells, or of their parts, row by row: int64 [T, (split w)^2]."""
        along = torch.arange(split * self.side, device=self.corner.device)
        places = self.corner[:, :, None] * split + along  # [T, 2, split w]
        return (places[:, 0, :, None] * (split * self.grid[1]) + places[:, 1, None, :]).flatten(1)


def _taken(x: Tensor, cells: Tensor) -> Tensor:
    """Rows of [1 or T, N, c] by their numbers [T, n]: [T, n, c]."""
    if x.shape[0] == 1:
        return x[0][cells]
    return x[torch.arange(len(x), device=x.device)[:, None], cells]
