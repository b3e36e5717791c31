# SPDX-License-Identifier: Apache-2.0
"""What is done to a sample before training: crop, flip, light, blur, noise. Phrases stay true: hues are kept, and a
picture of which somebody says "left" is not flipped."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from esam3_core.data.sample import Label, Sample
from esam3_core.runtime.preprocess import resize_frame

MIN_KEPT = 0.3  # share of an instance that must survive the crop before it can still be asked for
SIDES = ("left", "right")  # as they begin "leftmost", "right-hand" and the like
MIN_SIDE = 6.0  # pixels of the resized frame, shorter side of its box
MOST_ZOOM = 2.0  # a crop is enlarged by at most this
LEAST_SHARE = 0.1  # of a picture that a crop keeps


@dataclass
class View:
    """A sample as the student sees it."""

    image: np.ndarray  # uint8 [S, S, 3]
    masks: np.ndarray  # float32 [n, S/4, S/4], share of each cell that the instance covers
    boxes: np.ndarray  # float32 [n, 4] cxcywh in 0..1
    ignored: np.ndarray  # float32 [S/4, S/4], share of each cell nothing is known about
    sample: Sample  # labels of the n instances, what is hidden, what is known; its masks are those before the crop


def view(sample: Sample, size: int, rng: np.random.Generator | None) -> View:
    """Resize to the student's input; with a generator, crop and disturb at random first.

    Args:
        size: S, pixels.
        rng: None for evaluation: the whole picture, undisturbed.
    """
    image, masks, ignored = sample.image, sample.masks, sample.ignored
    areas = masks.reshape(len(masks), -1).sum(1) if len(masks) else np.zeros(0)
    if rng is not None:
        x, y, w, h = crop_box(sample, size, rng)
        image, masks = image[y : y + h, x : x + w], masks[:, y : y + h, x : x + w]
        ignored = None if ignored is None else ignored[y : y + h, x : x + w]
        if rng.random() < 0.5 and not names_a_side(sample):
            image, masks = image[:, ::-1], masks[:, :, ::-1]
            ignored = None if ignored is None else ignored[:, ::-1]
    small = resize_frame(np.ascontiguousarray(image), size)
    if rng is not None:
        small = disturb(small, rng)
    scale = size * size / (image.shape[0] * image.shape[1])
    cells = size // 4
    cover = np.zeros((cells, cells), np.float32) if ignored is None else shrink(ignored, cells)
    kept_masks, kept_boxes, kept_labels, hidden = [], [], [], list(sample.hidden)
    for mask, label, area in zip(masks, sample.labels, areas, strict=True):
        seen = int(mask.sum())
        if seen == 0:
            continue
        box = unit_box(mask)
        if seen < MIN_KEPT * area or min(box[2:]) * size < MIN_SIDE or seen * scale < MIN_SIDE**2 / 2:
            hidden.append(label)
            cover = np.maximum(cover, shrink(mask, cells))
            continue
        kept_masks.append(shrink(mask, cells))
        kept_boxes.append(box)
        kept_labels.append(label)
    return View(
        small,
        np.stack(kept_masks) if kept_masks else np.zeros((0, cells, cells), np.float32),
        np.array(kept_boxes, np.float32).reshape(-1, 4),
        cover,
        _with_labels(sample, kept_labels, hidden),
    )


def names_a_side(sample: Sample) -> bool:
    """Whether a phrase about the picture speaks of left or right."""
    said = [phrase for label in (*sample.labels, *sample.hidden) for phrase in (*label.phrases, *label.denied)]
    return any(word.startswith(SIDES) for phrase in (*said, *sample.absent) for word in phrase.split())


def _with_labels(sample: Sample, labels: list[Label], hidden: list[Label]) -> Sample:
    empty = np.zeros((0, 0, 0), np.uint8)
    return replace(sample, image=sample.image[:0], masks=empty, labels=labels, ignored=None, hidden=hidden)


def shrink(mask: np.ndarray, cells: int) -> np.ndarray:
    """uint8 mask -> share of each of cells x cells that it covers, float32."""
    mask = np.ascontiguousarray(mask, np.float32)
    return cv2.resize(mask, (cells, cells), interpolation=cv2.INTER_AREA)


def unit_box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Tight box of a mask that is not empty: cx, cy, w, h as shares of the picture."""
    height, width = mask.shape
    x, y, w, h = cv2.boundingRect(np.ascontiguousarray(mask))
    return (x + w / 2) / width, (y + h / 2) / height, w / width, h / height


def crop_box(sample: Sample, size: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A random crop (x, y, w, h), most often around an instance, its shape near the picture's own.

    Photographs are large and what they show is small: all sizes of crop are equally likely by their logarithm, down to
    what still fills the student's S pixels.
    """
    height, width = sample.image.shape[:2]
    least = float(np.clip((size / MOST_ZOOM / max(height, width)) ** 2, LEAST_SHARE, 1.0))
    share = float(np.exp(rng.uniform(np.log(least), 0.0))) if rng.random() < 0.7 else 1.0
    stretch = np.exp(rng.uniform(-0.3, 0.3))
    w = int(np.clip(width * np.sqrt(share) * stretch, 16, width))
    h = int(np.clip(height * np.sqrt(share) / stretch, 16, height))
    if len(sample.masks) and rng.random() < 0.8:
        cx, cy, _, _ = unit_box(sample.masks[rng.integers(len(sample.masks))])
        x = int(np.clip(cx * width - w * rng.uniform(0.2, 0.8), 0, width - w))
        y = int(np.clip(cy * height - h * rng.uniform(0.2, 0.8), 0, height - h))
        return x, y, w, h
    return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h


def disturb(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, gamma, white balance, blur, noise and JPEG, each now and then."""
    x: np.ndarray = image.astype(np.float32) / 255
    if rng.random() < 0.8:
        x = np.clip(x, 0, 1) ** np.exp(rng.uniform(-0.4, 0.4))
        x = (x - 0.5) * np.exp(rng.uniform(-0.3, 0.3)) + 0.5 + rng.uniform(-0.12, 0.12)
        x = x * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    if rng.random() < 0.3:
        grey = x.mean(-1, keepdims=True)
        x = grey + (x - grey) * rng.uniform(0.6, 1.3)
    if rng.random() < 0.2:
        x = cv2.GaussianBlur(x, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.4:
        x = x + rng.normal(0, rng.uniform(0.005, 0.04), x.shape).astype(np.float32)
    out = (np.clip(x, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.2:
        quality = int(rng.integers(30, 90))
        _, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return out
