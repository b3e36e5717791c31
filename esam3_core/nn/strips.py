# SPDX-License-Identifier: Apache-2.0
"""Large maps a few rows at a time, in graphs: what lies between two of them is then never held as a whole.

A map of 288 x 288 cells with 256 channels takes 85 MB, and enlarging, adding, a convolution and a norm would each make
one more of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIP = 1 << 21  # numbers of a strip, 8 MB: a processor's cache holds it


@dataclass(frozen=True)
class Strip:
    """Some rows of a map, and those that a 3x3 convolution looks at for them."""

    start: int
    end: int  # not in the strip any more
    height: int  # of the map

    @property
    def low(self) -> int:
        """First row that is looked at."""
        return max(self.start - 1, 0)

    @property
    def high(self) -> int:
        """First row behind those that are looked at."""
        return min(self.end + 1, self.height)

    def smooth(self, convolution: nn.Conv2d, rows: Tensor) -> Tensor:
        """The strip's part of a 3x3 convolution with padding 1, from the rows `low` to `high`."""
        if self.end - self.start == self.height:
            return convolution(rows)
        above, below = self.low - (self.start - 1), self.end + 1 - self.high  # rows outside the map are zero
        rows = functional.pad(rows, (1, 1, above, below))
        return functional.conv2d(rows, convolution.weight, convolution.bias)

    def enlarged(self, coarse: Tensor, enlarge: Callable[[Tensor], Tensor]) -> Tensor:
        """The rows `low` to `high` of a map that `enlarge` makes, row by row, twice as high as `coarse`."""
        first, last = self.low // 2, -(-self.high // 2)
        return enlarge(coarse[:, :, first:last])[:, :, self.low - 2 * first : self.high - 2 * first]


def strips(channels: int, height: int, width: int) -> list[Strip]:
    """The strips of a map, each of an even number of rows; outside of graphs one, which is the map."""
    rows = STRIP // (channels * width) // 2 * 2 if torch.onnx.is_in_onnx_export() else height
    rows = max(rows, 2)
    return [Strip(start, min(start + rows, height), height) for start in range(0, height, rows)]


def group_norm(norm: nn.GroupNorm, parts: list[Tensor]) -> list[Tensor]:
    """Group norm of a map [C, d, rows, W] that lies there in strips."""
    if len(parts) == 1:
        return [norm(parts[0])]
    groups = [part.unflatten(1, (norm.num_groups, -1)).flatten(2) for part in parts]  # [C, G, n]
    counts = torch.tensor([part.shape[2] * part.shape[3] for part in parts]).to(parts[0])
    shares = counts / counts.sum()
    means, variances = [], []
    for group in groups:
        means.append(group.mean(2))
        away = group - means[-1][..., None]
        variances.append((away * away).mean(2))
    each = torch.stack(means, -1)  # [C, G, strips]
    mean = (each * shares).sum(-1, keepdim=True)  # [C, G, 1]
    variance = ((torch.stack(variances, -1) + (each - mean) ** 2) * shares).sum(-1, keepdim=True)
    gain = norm.weight.unflatten(0, (norm.num_groups, -1)) * (variance + norm.eps).rsqrt()  # [C, G, d / G]
    shift = norm.bias.unflatten(0, (norm.num_groups, -1)) - mean * gain
    gain, shift = gain.flatten(1)[..., None, None], shift.flatten(1)[..., None, None]  # [C, d, 1, 1]
    return [part * gain + shift for part in parts]
