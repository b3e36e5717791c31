# SPDX-License-Identifier: Apache-2.0
"""Boxes as cxcywh in 0..1 and their generalised IoU."""

from __future__ import annotations

import torch
from torch import Tensor


def corners(boxes: Tensor) -> Tensor:
    """cxcywh [..., 4] -> x1 y1 x2 y2."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Pairwise generalised IoU of cxcywh boxes, broadcast over leading axes: -1..1."""
    a, b = corners(a), corners(b)
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    inner = (high - low).clamp(min=0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp(min=0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1)
    union = (area_a + area_b - inner).clamp(min=1e-9)
    span = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    hull = span.clamp(min=0).prod(-1).clamp(min=1e-9)
    return inner / union - (hull - union) / hull
