# SPDX-License-Identifier: Apache-2.0
"""Which query answers for which instance (DETR's bipartite matching)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from esam3_core.distill.boxes import generalised_iou

CLASS_COST, BOX_COST, GIOU_COST = 2.0, 5.0, 2.0


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Best pairing of queries and instances for each (picture, prompt) pair.

    Args:
        logits: [C, Q]; boxes: [C, Q, 4] cxcywh; targets: C x [n, 4].

    Returns:
        C x (query indices [m], instance indices [m]), m = min(n, Q).
    """
    pairs = []
    probability = logits.sigmoid()
    for p, b, target in zip(probability, boxes, targets, strict=True):
        if not len(target):
            empty = torch.zeros(0, dtype=torch.long)
            pairs.append((empty, empty))
            continue
        cost = -CLASS_COST * p[:, None]  # [Q, 1]
        cost = cost + BOX_COST * (b[:, None] - target[None]).abs().sum(-1)
        cost = cost - GIOU_COST * generalised_iou(b[:, None], target[None])
        rows, columns = linear_sum_assignment(np.nan_to_num(cost.cpu().numpy(), nan=1e6))
        pairs.append((torch.from_numpy(rows), torch.from_numpy(columns)))
    return pairs
