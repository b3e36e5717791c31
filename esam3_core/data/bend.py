# SPDX-License-Identifier: Apache-2.0
"""A picture bent like a sheet of rubber, masks with it: outlines that no data set has (elastic distortions: Simard,
Steinkraus, Platt, "Best Practices for Convolutional Neural Networks", ICDAR 2003, section 2)."""

from __future__ import annotations

import cv2
import numpy as np

CELL = (0.1, 0.35)  # between two points that are pulled, as a share of the picture's shorter side: as large as things
PULL = 0.1  # standard deviation, as a share of that; from about 0.25 on the sheet would fold


def sheet(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Where each pixel is taken from: float32 [2, height, width], x and y in pixels; the borders stay in place."""
    cell = rng.uniform(*CELL) * min(height, width)
    rows, columns = (max(3, round(side / cell) + 1) for side in (height, width))
    pulls = np.zeros((rows, columns, 2), np.float32)
    pulls[1:-1, 1:-1] = rng.normal(0, PULL * cell, (rows - 2, columns - 2, 2))
    moved = cv2.resize(pulls, (width, height), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    return (moved + np.stack(np.meshgrid(np.arange(width), np.arange(height)))).astype(np.float32)


def bend(
    image: np.ndarray, masks: np.ndarray, ignored: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Image uint8 [H, W, 3], masks uint8 [n, H, W] and what is ignored uint8 [H, W], all bent by one random sheet."""
    height, width = image.shape[:2]
    taken = sheet(height, width, rng)
    picture = _taken_from(image, taken, cv2.INTER_LINEAR)
    if len(masks):
        masks = np.stack([_taken_from(mask, taken, cv2.INTER_NEAREST) for mask in masks])
    return picture, masks, None if ignored is None else _taken_from(ignored, taken, cv2.INTER_NEAREST)


def _taken_from(pixels: np.ndarray, taken: np.ndarray, interpolation: int) -> np.ndarray:
    there = cv2.remap(np.ascontiguousarray(pixels), taken[0], taken[1], interpolation, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(there, np.uint8)
