# SPDX-License-Identifier: Apache-2.0
"""Sample pictures of a run of stage 2: how the averaged student follows the tracks of one batch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from esam3_core.distill.stage2_batches import ClipBatch
from esam3_core.distill.stage2_loop import Journey, travel
from esam3_core.nn.memory import Memory

ROWS = 8  # tracks that are drawn
FOUND, TRUE = (255, 200, 0), (0, 220, 80)  # RGB


@torch.no_grad()
def draw_journeys(memory: Memory, batch: ClipBatch, picture: Path) -> None:
    """One row per track, one tile per frame: the mask it sees filled, the true outline in green, its confidence."""
    journey = travel(memory, batch)
    frames, tracks = batch.visible.shape
    rows = [np.hstack([_tile(journey, batch, f, t) for f in range(frames)]) for t in range(min(ROWS, tracks))]
    cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def _tile(journey: Journey, batch: ClipBatch, frame: int, track: int) -> NDArray[np.uint8]:
    image = batch.thumbs[frame, int(batch.clip[track])].copy()
    side = image.shape[0]
    if journey.objectness[frame, track] > 0:
        found = cv2.resize(journey.masks[frame, track].numpy(), (side, side), interpolation=cv2.INTER_LINEAR) > 0
        image[found] = (0.5 * image[found] + 0.5 * np.array(FOUND)).astype(np.uint8)
    true = cv2.resize(batch.masks[frame, track].numpy(), (side, side), interpolation=cv2.INTER_LINEAR) > 0.5
    contours, _ = cv2.findContours(true.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(image, contours, -1, TRUE, 1)
    text = f"o{float(journey.objectness[frame, track].sigmoid()):.2f} i{float(journey.iou[frame, track]):.2f}"
    text += " given" if batch.given[frame, track] else ""
    cv2.rectangle(image, (0, 0), (side, 11), (0, 0, 0), -1)
    cv2.putText(image, text, (2, 9), cv2.FONT_HERSHEY_SIMPLEX, 0.3, (255, 255, 255), 1, cv2.LINE_AA)
    return image
