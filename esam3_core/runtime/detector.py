# SPDX-License-Identifier: Apache-2.0
"""From features and prompts to the detections of every concept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.config import DetectorConfig
from esam3_core.runtime.engines import Engine
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.text import Prompt
from esam3_core.runtime.track import Box, Detection
from esam3_core.runtime.upsample import to_logit, upsample_mask

FEATURES = ("p16", "p8", "p4")
Raw = dict[str, NDArray[Any]]


def run_detector(engine: Engine, features: Mapping[str, Any], prompt: Prompt, batch: int) -> list[Raw]:
    """Raw detector outputs, in batches of at most `batch` concepts.

    Args:
        features: the image encoder's outputs, as arrays or handles.
        prompt: C concepts, C >= 1.
    """
    given = {name: features[name] for name in FEATURES}
    starts = range(0, len(prompt.concepts), batch)
    slices = [slice(start, start + batch) for start in starts]
    return [engine.run({**given, "prompt": prompt.tokens[part], "prompt_pad": prompt.pad[part]}) for part in slices]


def read_detections(
    raw: Raw, concepts: tuple[str, ...], config: DetectorConfig, size: tuple[int, int]
) -> list[Detection]:
    """The detections in one raw output, concept by concept, best first.

    Args:
        raw: `boxes` [C, Q, 4] cxcywh in 0..1, `logits` [C, Q], `presence` [C], `kept` [C, K], `masks` [C, K, h, w].
        concepts: C names.
        size: H, W of the camera image in pixels.
    """
    queries = fall_off(np.take_along_axis(raw["logits"], raw["kept"], axis=1), config.falloff)  # [C, K]
    scores = _sigmoid(queries) * _sigmoid(raw["presence"])[:, None]
    found: list[Detection] = []
    for index, concept in enumerate(concepts):
        good = np.flatnonzero(scores[index] >= config.score_threshold)
        good = good[np.argsort(-scores[index, good], kind="stable")]
        boxes = raw["boxes"][index, raw["kept"][index]]  # [K, 4]
        candidates = [
            Detection(
                concept,
                float(scores[index, k]),
                _pixel_box(boxes[k], size),
                upsample_mask(raw["masks"][index, k], to_logit(config.mask_threshold), size),
            )
            for k in good
        ]
        large = [candidate for candidate in candidates if candidate.crop.area >= max(1, config.min_area)]
        found += drop_duplicates(large, config.duplicate_iou)
    return found


def fall_off(logits: NDArray[Any], falloff: float) -> NDArray[Any]:
    """Logits of each concept's queries [C, Q], lowered by `falloff` times what they lack to the concept's best one.

    The best one stays as it is, so that "is it there" and "is there another one" need not be as sure as each other.
    """
    return logits - falloff * (logits.max(1, keepdims=True) - logits)


def drop_duplicates(detections: list[Detection], iou: float) -> list[Detection]:
    """Of detections of one concept, best first, those whose mask overlaps no better one by more than `iou`."""
    crops: list[CroppedMask] = []
    kept: list[Detection] = []
    for detection in detections:
        if not crops or iou_matrix([detection.crop], crops).max() <= iou:
            crops.append(detection.crop)
            kept.append(detection)
    return kept


def _pixel_box(box: NDArray[np.float32], size: tuple[int, int]) -> Box:
    height, width = size
    cx, cy, w, h = (float(value) for value in box)
    left, right = (min(max((cx + side * w / 2) * width, 0.0), float(width)) for side in (-1, 1))
    top, bottom = (min(max((cy + side * h / 2) * height, 0.0), float(height)) for side in (-1, 1))
    return left, top, right - left, bottom - top


def _sigmoid(logits: NDArray[Any]) -> NDArray[np.float64]:
    # Clipped, so that exp cannot overflow; sigmoid(-50) is below 1e-21.
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(logits.astype(np.float64), -50.0, 50.0))))
