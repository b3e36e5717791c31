# SPDX-License-Identifier: Apache-2.0
"""Random cases that our metrics and the reference implementations are both asked about. Seeds decide everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

SIZE = (60, 80)  # H, W
CASES = 12


def blob(rng: np.random.Generator) -> np.ndarray:
    """A filled ellipse, uint8 [H, W]; it may reach over the border."""
    mask = np.zeros(SIZE, np.uint8)
    x, y, r = rng.uniform(0, SIZE[1]), rng.uniform(0, SIZE[0]), rng.uniform(4, 18)
    cv2.ellipse(mask, (int(x), int(y)), (int(r), int(r * 0.7) + 1), float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return mask


def near(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Another mask that overlaps more or less well."""
    dx, dy = rng.integers(-6, 7, 2)
    moved = cv2.warpAffine(mask, np.float32([[1, 0, dx], [0, 1, dy]]), SIZE[::-1], flags=cv2.INTER_NEAREST)
    kernel = np.ones((int(rng.integers(1, 5)),) * 2, np.uint8)
    return np.asarray((cv2.dilate if rng.random() < 0.5 else cv2.erode)(moved, kernel), np.uint8)


def rle(mask: np.ndarray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(mask))
    return {"size": list(SIZE), "counts": code["counts"].decode()}


def mask_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """(found, truth), some empty."""
    rng = np.random.default_rng(1)
    pairs = [(near(rng, truth), truth) for truth in (blob(rng) for _ in range(3 * CASES))]
    empty = np.zeros(SIZE, np.uint8)
    return [*pairs, (empty, empty), (empty, pairs[0][1]), (pairs[0][0], empty)]


@dataclass(frozen=True)
class TrackCase:
    """Frames of (object ids, track ids, IoUs)."""

    frames: list[tuple[list[int], list[int], np.ndarray]]


def track_cases() -> list[TrackCase]:
    """Objects and tracks that come, go, swap and miss; two without any track or any object."""
    cases = []
    for seed in range(CASES):
        rng = np.random.default_rng([2, seed])
        objects, tracks = int(rng.integers(1, 5)), int(rng.integers(1, 7))
        frames = []
        for _ in range(int(rng.integers(3, 15))):
            rows = [i for i in range(objects) if rng.random() < 0.8]
            columns = [i for i in range(tracks) if rng.random() < 0.7]
            similarity = rng.random((len(rows), len(columns))) ** 2 * 0.4
            for r, i in enumerate(rows):
                for c, j in enumerate(columns):
                    if i == j:
                        similarity[r, c] = rng.uniform(0.3, 1)
            frames.append((rows, [10 + j for j in columns], similarity))
        cases.append(TrackCase(frames))
    cases.append(TrackCase([([0, 1], [], np.zeros((2, 0)))] * 3))
    cases.append(TrackCase([([], [10], np.zeros((0, 1)))] * 3))
    return cases


def gold_case(seed: int, annotators: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(a COCO-like file per annotator, predictions): SA-Co pairs, positive and negative, annotators who disagree."""
    rng = np.random.default_rng([3, seed])
    files: list[dict[str, Any]] = [
        {"info": {}, "images": [], "annotations": [], "categories": [{"id": 1, "name": "object"}]}
        for _ in range(annotators)
    ]
    predictions = []
    for number in range(1, 31):
        truths = [blob(rng) for _ in range(int(rng.integers(0, 4)) if rng.random() < 0.7 else 0)]
        for file in files:
            whole = bool(rng.random() < 0.95)
            file["images"].append(
                {"id": number, "file_name": f"{number}.jpg", "text_input": f"thing {number}", "width": SIZE[1],
                 "height": SIZE[0], "is_instance_exhaustive": int(whole), "is_pixel_exhaustive": 1}
            )  # fmt: skip
            own = [near(rng, truth) for truth in truths if rng.random() < 0.9]
            own += [blob(rng)] if rng.random() < 0.1 else []
            for mask in own:
                crowd = int(rng.random() < 0.05)
                file["annotations"].append(
                    {"id": len(file["annotations"]) + 1, "image_id": number, "category_id": 1, "iscrowd": crowd,
                     "segmentation": rle(mask), "area": int(mask.sum()), "bbox": [0.0, 0.0, 1.0, 1.0]}
                )  # fmt: skip
        found = [near(rng, truth) for truth in truths if rng.random() < 0.85]
        found += [blob(rng) for _ in range(int(rng.integers(1, 3)))] if rng.random() < 0.25 else []
        for mask in found:
            score = float(np.round(rng.random() ** 0.5, 3))
            predictions.append(
                {"image_id": number, "category_id": 1, "score": score, "segmentation": rle(mask),
                 "bbox": [float(side) for side in cv2.boundingRect(mask)]}
            )  # fmt: skip
    return files, predictions
