# SPDX-License-Identifier: Apache-2.0
"""Batches for the refiner: crops with the mask that a bundle draws and the true one, turned and disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from esam3_core.config_refiner import RefinerConfig
from esam3_core.data.augment import disturb
from esam3_core.distill.refiner_masks import RoughMasks, to_logits
from esam3_core.runtime.refiner import SURE

FLIPPED, TOPPLED, TURNED = 0.5, 0.3, 0.2  # chances that left and right, up and down, rows and columns change places
BARE = 0.15  # chance that of a mask only its pixels are known


@dataclass
class MaskBatch:
    """B crops."""

    crops: Tensor  # uint8 [B, R, R, 3] RGB
    masks: Tensor  # [B, R, R] as drawn, logits
    truth: Tensor  # [B, R, R] share 0..1 of a cell


class RefinerBatches:
    """Batch number i depends on seed and i alone.

    Args:
        config: of the run; sources: what each of its bundles drew of each of its sources.
    """

    def __init__(self, config: RefinerConfig, sources: Sequence[Sequence[RoughMasks]]) -> None:
        self.config, self.sources = config, sources
        weights = np.array([source.weight for source in config.sources])
        self.shares = weights / weights.sum()

    def batch(self, step: int) -> MaskBatch:
        """Batch number `step`."""
        rng = np.random.default_rng([self.config.seed, step])
        parts = [self._crop(rng) for _ in range(self.config.crops)]
        crops, masks, truth = (np.stack(part) for part in zip(*parts, strict=True))
        logits = to_logits(masks)
        bare = rng.random(len(logits)) < BARE
        logits[bare] = np.sign(logits[bare]) * SURE
        return MaskBatch(torch.from_numpy(crops), torch.from_numpy(logits), torch.from_numpy(truth).float() / 255)

    def _draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        """Crop, mask as drawn and true mask, as they are kept."""
        drawn = self.sources[int(rng.choice(len(self.sources), p=self.shares))]
        source = drawn[int(rng.integers(len(drawn)))]
        row = int(rng.integers(len(source)))
        return [source.crops[row], source.masks[row], source.truth[row]]

    def _crop(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        parts = self._draw(rng)
        if rng.random() < FLIPPED:
            parts = [part[:, ::-1] for part in parts]
        if rng.random() < TOPPLED:
            parts = [part[::-1] for part in parts]
        if rng.random() < TURNED:
            parts = [part.swapaxes(0, 1) for part in parts]
        crop, mask, truth = (np.ascontiguousarray(part) for part in parts)
        for chance, share in ((self.config.printed, truth), (self.config.littered, 255 - truth)):
            if rng.random() < chance:
                crop = patched(crop, self._draw(rng)[0], share, rng)
        return disturb(crop, rng), mask, truth


def patched(crop: np.ndarray, other: np.ndarray, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A crop uint8 [R, R, 3] with a patch of another one where `share` uint8 [R, R] is high: what is printed on a thing
    is no border of it, and neither is what lies beside it."""
    side = len(crop)
    x, y, width, height = rng.uniform((-0.2, -0.2, 0.2, 0.2), (0.8, 0.8, 0.8, 0.8)) * side
    rows, columns = np.ogrid[:side, :side]
    across, down = np.abs(columns - x - width / 2) / (width / 2), np.abs(rows - y - height / 2) / (height / 2)
    inside = np.hypot(across, down) < 1 if rng.random() < 0.5 else np.maximum(across, down) < 1
    weight = (rng.uniform(0.4, 1.0) * inside * share / 255)[..., None]
    return np.asarray(np.rint((1 - weight) * crop + weight * other), np.uint8)
