# SPDX-License-Identifier: Apache-2.0
"""Cut-outs of real instances pasted into other pictures (copy-paste augmentation)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from esam3_core.data.sample import Label, Sample
from esam3_core.scenes.vocabulary import NOUNS, closest_noun

MIN_CUT = 40  # pixels, shorter side of a cut-out worth pasting


@dataclass(frozen=True)
class CutOut:
    """An instance without its background."""

    image: np.ndarray  # uint8 [h, w, 3]
    mask: np.ndarray  # uint8 [h, w]
    label: Label


def cut_outs(sample: Sample) -> list[CutOut]:
    """Every instance of a sample that is large enough, whole enough and named by the vocabulary."""
    found = []
    for mask, label in zip(sample.masks, sample.labels, strict=True):
        if not label.phrases & set(NOUNS):
            continue
        x, y, w, h = cv2.boundingRect(np.ascontiguousarray(mask))
        touches = x == 0 or y == 0 or x + w == mask.shape[1] or y + h == mask.shape[0]
        if min(w, h) < MIN_CUT or touches:
            continue
        image = sample.image[y : y + h, x : x + w].copy()
        found.append(CutOut(image, mask[y : y + h, x : x + w].copy(), label))
    return found


def by_noun(cuts: Sequence[CutOut]) -> list[list[CutOut]]:
    """Cut-outs of the same name together; a mug's is "mug", not "cup"."""
    kinds: dict[str, list[CutOut]] = {}
    for cut in cuts:
        kinds.setdefault(closest_noun(cut.label.phrases), []).append(cut)
    return list(kinds.values())


def paste(sample: Sample, cuts: list[CutOut], rng: np.random.Generator) -> Sample:
    """The sample with cut-outs in front; what they hide is taken from the masks below."""
    image, labels = sample.image.copy(), list(sample.labels)
    masks = list(sample.masks.copy())
    ignored = None if sample.ignored is None else sample.ignored.copy()
    for cut in cuts:
        place = _place(cut, image.shape[:2], rng)
        if place is None:
            continue
        picture, alpha, x, y = place
        h, w = alpha.shape
        region = image[y : y + h, x : x + w]
        blend = cv2.GaussianBlur(alpha.astype(np.float32), (0, 0), 0.8)[..., None]
        region[:] = (picture * blend + region * (1 - blend)).astype(np.uint8)
        for below in masks:
            below[y : y + h, x : x + w][alpha > 0] = 0
        if ignored is not None:
            ignored[y : y + h, x : x + w][alpha > 0] = 0
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[y : y + h, x : x + w] = alpha
        masks.append(mask)
        labels.append(cut.label)
    stacked = np.stack(masks) if masks else sample.masks
    return replace(sample, image=image, masks=stacked, labels=labels, ignored=ignored)


def _place(
    cut: CutOut, frame: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int, int] | None:
    """The cut-out scaled, flipped and lit for a place in the frame, or None if it does not fit."""
    height, width = frame
    side = rng.uniform(0.12, 0.5) * min(height, width)
    scale = side / max(cut.mask.shape)
    h, w = int(cut.mask.shape[0] * scale), int(cut.mask.shape[1] * scale)
    if min(h, w) < 8 or h > height or w > width:
        return None
    image = cv2.resize(cut.image, (w, h), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(cut.mask, (w, h), interpolation=cv2.INTER_NEAREST)
    if rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    light = np.clip(image * np.exp(rng.uniform(-0.3, 0.2)), 0, 255).astype(np.uint8)
    x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    return light, np.ascontiguousarray(mask), x, y
