# SPDX-License-Identifier: Apache-2.0
"""The refiner: what it is given it mostly keeps, and a few steps teach it where a border is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from esam3_core.distill.refiner import hard_iou, soft_iou
from esam3_core.nn.refiner import KEPT, Refiner
from esam3_core.runtime.refiner import SIDE, SURE

STEPS = 150


def discs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Crops of ellipses in colours, masks of them that are shifted, and the true ones."""
    rng = np.random.default_rng(seed)
    crops, masks, truth = [], [], []
    for _ in range(count):
        colours = rng.integers(0, 256, (2, 3))
        axes, angle = rng.integers(12, 26, 2).tolist(), float(rng.uniform(0, 180))
        layers = []
        for shift in (np.zeros(2), rng.normal(0, 4, 2)):
            x, y = (32 + shift).astype(int).tolist()
            layers.append(cv2.ellipse(np.zeros((SIDE, SIDE), np.uint8), (x, y), axes, angle, 0, 360, 1, -1))
        crops.append(np.where(layers[0][..., None] > 0, colours[0], colours[1]).astype(np.uint8))
        truth.append(layers[0].astype(np.float32))
        masks.append((2 * layers[1].astype(np.float32) - 1) * SURE)
    return tuple(torch.from_numpy(np.stack(part)) for part in (crops, masks, truth))  # type: ignore[return-value]


def test_every_mask_is_refined_by_itself() -> None:
    refiner = Refiner().eval()
    crops, masks, _ = discs(4, 0)
    with torch.no_grad():
        together = refiner(crops, masks)
        alone = torch.cat([refiner(crops[i : i + 1], masks[i : i + 1]) for i in range(4)])
    assert together.shape == masks.shape and torch.allclose(together, alone, atol=1e-4)


def test_without_a_correction_the_mask_stays() -> None:
    refiner = Refiner().eval()
    torch.nn.init.zeros_(refiner.leave.weight)
    torch.nn.init.zeros_(refiner.leave.bias)
    crops, masks, _ = discs(2, 1)
    with torch.no_grad():
        assert torch.equal(refiner(crops, masks), KEPT * masks)


def test_it_learns_to_move_a_border_to_the_edge_in_the_picture() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    refiner = Refiner()
    optimiser = torch.optim.AdamW(refiner.parameters(), 1e-2)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / STEPS)
        crops, masks, truth = discs(8, 100 + step)
        logits = refiner.train()(crops, masks)
        loss = F.binary_cross_entropy_with_logits(logits, truth) + 1 - soft_iou(logits.sigmoid(), truth).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    crops, masks, truth = discs(40, 5)
    with torch.no_grad():
        before, after = hard_iou(masks, truth), hard_iou(refiner.eval()(crops, masks), truth)
    assert before < 0.8 and after > before + 0.08


def test_iou_of_soft_masks() -> None:
    whole, half = torch.ones(1, 10, 10), torch.zeros(1, 10, 10)
    half[:, :5] = 1
    assert float(soft_iou(whole, whole)) == 1.0
    assert float(soft_iou(half, whole)) == pytest.approx(0.5, abs=0.01)
    assert float(soft_iou(half, half.flip(1))) == pytest.approx(0.0, abs=0.01)
