# SPDX-License-Identifier: Apache-2.0
"""What a map holds at boxes and points, in plain matrix products.

torchvision's RoIAlign takes the mean of bilinear samples on a regular grid. Rows and columns of such a grid do not
depend on each other, so its result is a product of three matrices: rows x map x columns. That exports to ONNX, where
the number of samples may depend on the box.
"""

from __future__ import annotations

import torch
from torch import Tensor


def roi_align(maps: Tensor, boxes: Tensor, bins: int) -> Tensor:
    """RoIAlign with adaptive sampling (`sampling_ratio=-1, aligned=False`): mean samples of each bin of each box.

    Args:
        maps: [B, d, h, w], B = C or 1.
        boxes: [C, E, 4] cxcywh in 0..1 of the frame.
        bins: along each side of a box.

    Returns:
        [C, E, d, bins, bins]
    """
    height, width = maps.shape[-2:]
    rows = _bin_weights(boxes[..., 1], boxes[..., 3], bins, height)  # [C, E, bins, h]
    columns = _bin_weights(boxes[..., 0], boxes[..., 2], bins, width)  # [C, E, bins, w]
    return _weigh(maps, rows, columns)


def sample_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear samples with zeros around the map (`grid_sample`, `align_corners=False`).

    Args:
        maps: [B, d, h, w], B = C or 1.
        points: [C, E, 2], x and y in 0..1 of the frame.

    Returns:
        [C, E, d]
    """
    height, width = maps.shape[-2:]
    columns = _hats(points[..., 0] * width - 0.5, width)[..., None, :]  # [C, E, 1, w]
    rows = _hats(points[..., 1] * height - 0.5, height)[..., None, :]
    return _weigh(maps, rows, columns)[..., 0, 0]


def _weigh(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Map [B, d, h, w], rows [C, E, r, h], columns [C, E, c, w] -> [C, E, d, r, c]."""
    tall = rows[:, :, None] @ maps[:, None]  # [C, E, d, r, w]
    return tall @ columns[:, :, None].transpose(-1, -2)


def _bin_weights(centre: Tensor, side: Tensor, bins: int, cells: int) -> Tensor:
    """How much each cell counts in each bin of an interval: [C, E] x 2 in 0..1 -> [C, E, bins, cells]."""
    low, high = (centre - side / 2) * cells, (centre + side / 2) * cells
    size = (high - low).clamp(min=1.0) / bins  # of a bin, in cells
    count = size.ceil().clamp(max=_most_samples(bins, cells))  # samples per bin
    index = torch.arange(_most_samples(bins, cells), device=side.device).to(side.dtype)  # [n]
    offset = (index + 0.5) / count[..., None]  # [C, E, n], in bins
    bin_index = torch.arange(bins, device=side.device).to(side.dtype)[:, None]
    place = low[..., None, None] + (bin_index + offset[..., None, :]) * size[..., None, None]  # [C, E, bins, n]
    used = (index < count[..., None])[..., None, :] & (place >= -1.0) & (place <= cells)
    weights = _hats(place.clamp(0.0, cells - 1.0), cells) * used[..., None].to(side.dtype)  # [C, E, bins, n, cells]
    return weights.sum(-2) / count[..., None, None]


def _most_samples(bins: int, cells: int) -> int:
    """Samples per bin of a box as large as the frame."""
    return -(-cells // bins)


def _hats(place: Tensor, cells: int) -> Tensor:
    """Weights of linear interpolation between cells: [...] in cells -> [..., cells]."""
    cell = torch.arange(cells, device=place.device).to(place.dtype)
    return (1.0 - (place[..., None] - cell).abs()).clamp(min=0.0)
