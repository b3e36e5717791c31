# SPDX-License-Identifier: Apache-2.0
"""Sample pictures of a run: what the averaged student finds in a few augmented training pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from esam3_core.distill.asking import ask
from esam3_core.distill.batches import Batch
from esam3_core.nn.detector import Detected
from esam3_core.nn.student import Student

SHOWN_SCORE = 0.3
COLUMNS = 6
FOUND, TRUE, SHOWN, DENIED = (255, 200, 0), (0, 220, 80), (60, 120, 255), (240, 40, 40)  # RGB


@torch.no_grad()
def draw_samples(student: Student, batch: Batch, picture: Path) -> None:
    """One tile per (picture, prompt) pair: found masks filled, true outlines in green, prompt and presence above."""
    student.eval()
    features = student.image_encoder(batch.frames)
    pairs = features.take(batch.pair_frame)
    out = student.detect(pairs, *ask(student, features.p16, batch))
    tiles = [_tile(student, out, batch, row) for row in range(len(batch.pair_frame))]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % COLUMNS)
    rows = [np.hstack(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def _tile(student: Student, out: Detected, batch: Batch, row: int) -> np.ndarray:
    image = batch.frames[batch.pair_frame[row]].numpy().copy()
    size = image.shape[0]
    presence = out.decoded.presence[-1][row].sigmoid()
    scores = out.decoded.logits[-1][row].sigmoid() * presence
    shown = torch.nonzero(scores > SHOWN_SCORE)[:, 0]
    if len(shown):
        queries, boxes = out.decoded.queries[-1][row : row + 1, shown], out.decoded.boxes[-1][row : row + 1, shown]
        masks = student.detector.masks(queries, boxes, out.pixels[row : row + 1])[0].numpy()
        for mask in masks:
            large = cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR) > 0
            image[large] = (0.5 * image[large] + 0.5 * np.array(FOUND)).astype(np.uint8)
    for mask in batch.masks[row].numpy():
        large = (cv2.resize(mask, (size, size), interpolation=cv2.INTER_LINEAR) > 0.5).astype(np.uint8)
        contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(image, contours, -1, TRUE, 1)
    best = float(scores.max())
    own = bool(batch.example_frame[row] == batch.pair_frame[row])
    for box, label in zip(batch.examples[row], batch.example_labels[row], strict=True):
        if label >= 0 and own:
            x, y, w, h = (float(side) * size for side in box)
            corners = (int(x - w / 2), int(y - h / 2)), (int(x + w / 2), int(y + h / 2))
            cv2.rectangle(image, *corners, SHOWN if label else DENIED, 2)
    name = batch.texts[row] if batch.named[row] else f"({batch.texts[row]}, shown)"
    text = f"{name} p{float(presence):.2f} s{best:.2f}"
    cv2.rectangle(image, (0, 0), (size, 16), (0, 0, 0), -1)
    cv2.putText(image, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    return image
