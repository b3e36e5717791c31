# SPDX-License-Identifier: Apache-2.0
"""Training of the refiner: it corrects the masks that bundles draw of labelled pictures (docs/distill.md)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from esam3_core.config_refiner import RefinerConfig
from esam3_core.deploy.export import is_bundle
from esam3_core.deploy.weights import UNUSED, graph_weights
from esam3_core.distill.checkpoint_file import CHECKPOINT, load_checkpoint
from esam3_core.distill.refiner_batches import MaskBatch, RefinerBatches
from esam3_core.distill.refiner_masks import RoughMasks, rough_masks
from esam3_core.distill.stage import Stage
from esam3_core.nn.refiner import LoneRefiner, Refiner
from esam3_core.runtime.bundle import REFINER_GRAPH, Bundle
from esam3_core.runtime.student import Student as Runtime

PREFIX = "refiner."
ENTROPY = 2.0  # weight of the cross-entropy beside 1 - IoU
COLUMNS, TILES, TILE = 8, 24, 160  # of the sample picture; pixels of a tile
DRAWN, REFINED, TRUE = (255, 120, 0), (255, 0, 160), (0, 220, 80)  # RGB


class RefinerStage(Stage):
    """What the fit loop needs. The refiner sees no other part of any student, so nothing else is here to be trained.

    Args:
        config: of the run.

    Raises:
        BundleError: a bundle is missing.
        ValueError: nothing is named to learn from.
    """

    student: LoneRefiner  # type: ignore[assignment]

    def __init__(self, config: RefinerConfig) -> None:
        torch.manual_seed(config.seed)
        if not config.bundles or not config.sources:
            raise ValueError("the refiner learns from what bundles draw: set bundles and sources")
        self.config = config
        self.bundles = [Bundle.load(name) for name in config.bundles]
        self.student = LoneRefiner()
        self.refiner = self.student.refiner
        if config.start:
            self.refiner.load_state_dict(refiner_weights(Path(config.start)))
        self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @cached_property
    def masks(self) -> list[list[RoughMasks]]:
        """What each bundle draws of each source; made at the first start."""
        config = self.config
        return [[rough_masks(Runtime(one), source, config) for one in self.bundles] for source in config.sources]

    def parameters(self) -> list[dict[str, object]]:
        """All of the refiner."""
        return [{"params": list(self.refiner.parameters()), "rate": self.config.rate}]

    def prepare(self, device: torch.device) -> None:
        """Draw all masks."""
        _ = self.masks

    def batches(self, first: int) -> RefinerBatches:
        """Batches by number."""
        return RefinerBatches(self.config, self.masks)

    def train_mode(self, step: int) -> None:
        """Training mode."""
        self.refiner.train()

    def loss(self, batch: MaskBatch) -> tuple[Tensor, dict[str, float]]:
        """Cross-entropy and 1 - IoU; for the log also the IoU of the masks before and after."""
        logits = self.refiner(batch.crops, batch.masks)
        entropy = F.binary_cross_entropy_with_logits(logits, batch.truth)
        overlap = 1 - soft_iou(logits.sigmoid(), batch.truth).mean()
        with torch.no_grad():
            before, after = (hard_iou(one, batch.truth) for one in (batch.masks, logits))
        told = {"entropy": entropy, "overlap": overlap, "iou_before": before, "iou_after": after}
        return ENTROPY * entropy + overlap, {name: float(value.detach()) for name, value in told.items()}

    def blank(self) -> LoneRefiner:  # type: ignore[override]
        """Another refiner, to hold the averaged weights."""
        return LoneRefiner()

    @torch.no_grad()
    def draw(self, student: LoneRefiner, batch: MaskBatch, picture: Path) -> None:  # type: ignore[override]
        """Crops with three outlines: orange as drawn, pink refined, green true."""
        logits = student.refiner.eval()(batch.crops, batch.masks).cpu()
        layers = ((batch.masks, DRAWN), (batch.truth - 0.5, TRUE), (logits, REFINED))
        tiles = [
            _tile(batch.crops[i].cpu().numpy(), [(one[i].cpu().numpy(), colour) for one, colour in layers])
            for i in range(min(TILES, len(logits)))
        ]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
        rows = [np.hstack(tiles[start : start + COLUMNS]) for start in range(0, len(tiles), COLUMNS)]
        cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def refiner_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the refiner of a run or a bundle, by their names in the refiner.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of another shape, that of an older version.
    """
    if (folder / CHECKPOINT).is_file():
        weights = load_checkpoint(folder / CHECKPOINT)["average"]
    elif is_bundle(folder) and (folder / f"{REFINER_GRAPH}.onnx").is_file():
        weights = graph_weights(folder, REFINER_GRAPH)
    else:
        weights = {}
    found = {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}
    if not found:
        raise FileNotFoundError(
            f"no refiner in {folder}: name a run of `esam3 distill refiner CONFIG --out FOLDER`, or a bundle that "
            "has one"
        )
    if _shapes(found) != _shapes(Refiner().state_dict()):
        raise ValueError(f"the refiner in {folder} is of an older version: take that of a shipped bundle, or train one")
    return found


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Of all that a graph keeps."""
    return {name: value.shape for name, value in weights.items() if not any(part in name for part in UNUSED)}


def soft_iou(share: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of masks [B, R, R] of shares 0..1: [B]."""
    both = (share * truth).sum((1, 2))
    return (both + 1) / (share.sum((1, 2)) + truth.sum((1, 2)) - both + 1)


def hard_iou(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean IoU of logits > 0 with shares > 0.5."""
    return soft_iou((logits > 0).float(), (truth > 0.5).float()).mean()


def _tile(crop: np.ndarray, outlines: list[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    tile = cv2.resize(crop, (TILE, TILE), interpolation=cv2.INTER_CUBIC)
    for values, colour in outlines:
        inside = cv2.resize(values, (TILE, TILE), interpolation=cv2.INTER_LINEAR) > 0
        contours, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(tile, contours, -1, colour, 1)
    return tile
