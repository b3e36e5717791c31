# SPDX-License-Identifier: Apache-2.0
"""Masks of prompted objects: mIoU with a box, or with a point, on COCO, LVIS or any labelled pictures.

The rule of EfficientSAM3's eval_coco.py: the box (or a point) of every instance is given, one mask comes back, its IoU
with the label counts; crowds are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from esam3_core.data.sample import Samples
from esam3_core.metrics.evaluate import chosen
from esam3_core.metrics.masks import mask_iou
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.memory import MemoryBank, MemoryShape
from esam3_core.runtime.object_prompt import object_prompt
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.student import Student
from esam3_core.runtime.track import Box
from esam3_core.runtime.upsample import to_logit, upsample_mask

KINDS = ("box", "point")
SMALL, LARGE = 32**2, 96**2  # pixels: COCO's bounds between small, medium and large
PART = 16  # prompts in one run


@dataclass(frozen=True)
class Shown:
    """One object as a user shows it: a box x, y, width, height, or a point x, y, in pixels."""

    box: Box | None
    point: tuple[float, float] | None


class PromptedMasks(Protocol):
    """Anything that gives one mask per prompt: a bundle with memory, an imported checkpoint, a teacher."""

    def __call__(self, image: Image, prompts: Sequence[Shown]) -> list[CroppedMask]: ...


@dataclass(frozen=True)
class PromptedScores:
    """Mean IoU in 0..1; nan where there is no such instance."""

    miou: float  # over all instances
    miou_by_class: float  # mean over classes of their mean
    small: float
    medium: float
    large: float
    share_50: float  # of instances with IoU >= 0.5
    share_75: float
    instances: int
    pictures: int


class PromptedStudent:
    """A bundle as PromptedMasks.

    Raises:
        BundleError: the bundle has no memory, whose graph answers prompts.
    """

    def __init__(self, student: Student) -> None:
        sizes = student.bundle.student
        self.student, self.engines = student, student.memory
        self.shape = MemoryShape.of(sizes.memory, sizes.size, sizes.width)

    def __call__(self, image: Image, prompts: Sequence[Shown]) -> list[CroppedMask]:
        """One mask per prompt, in its order."""
        features, size = self.student.encode_image(image), (image.shape[0], image.shape[1])
        level = to_logit(self.student.detector.mask_threshold)
        masks: list[CroppedMask] = []
        for start in range(0, len(prompts), PART):
            part = prompts[start : start + PART]
            bank = MemoryBank(self.shape, len(part))
            asked = {
                bank.open(): object_prompt(
                    one.box, [] if one.point is None else [(*one.point, 1)], size, self.engines.points
                )
                for one in part
            }
            seen = self.engines.propagate(features, bank, list(asked), asked)
            masks += [upsample_mask(logits, level, size) for logits in seen.logits]
        return self.student.refine(image, masks)


def show(mask: NDArray[np.uint8], kind: str) -> Shown:
    """The prompt of a label that is not empty: its tight box, or its point farthest from any border.

    Raises:
        ValueError: `kind` is neither box nor point.
    """
    if kind == "box":
        x, y, width, height = cv2.boundingRect(np.ascontiguousarray(mask))
        return Shown((float(x), float(y), float(width), float(height)), None)
    if kind != "point":
        raise ValueError(f"prompts are {' or '.join(KINDS)}, not {kind!r}")
    padded = np.pad(mask, 1)  # the picture's border is a border too
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return Shown(None, (float(column) - 0.5, float(row) - 0.5))


def measure_prompted(ask: PromptedMasks, samples: Samples, kind: str, limit: int = 0) -> PromptedScores:
    """Prompt every instance once.

    Args:
        kind: box or point.
        limit: pictures, spread evenly over `samples`; 0 = all.

    Raises:
        ValueError: there is no instance to prompt.
    """
    ious: list[float] = []
    areas: list[int] = []
    classes: list[frozenset[str]] = []
    pictures = 0
    for index in tqdm(chosen(len(samples), limit), unit="picture", desc=f"prompt by {kind}"):
        sample = samples[index]
        if not len(sample.masks):
            continue
        pictures += 1
        found = ask(sample.image, [show(mask, kind) for mask in sample.masks])
        ious += [mask_iou(crop.full(), mask) for crop, mask in zip(found, sample.masks, strict=True)]
        areas += [int(mask.sum()) for mask in sample.masks]
        classes += [label.phrases | label.maybe for label in sample.labels]
    if not ious:
        raise ValueError("no instance to prompt: do the pictures belong to the annotations?")
    return _scores(np.array(ious), np.array(areas), classes, pictures)


def _scores(
    ious: NDArray[np.float64], areas: NDArray[np.int64], classes: Sequence[frozenset[str]], pictures: int
) -> PromptedScores:
    groups: dict[frozenset[str], list[float]] = {}
    for value, name in zip(ious.tolist(), classes, strict=True):
        groups.setdefault(name, []).append(value)
    return PromptedScores(
        _mean(ious),
        float(np.mean([np.mean(values) for values in groups.values()])),
        _mean(ious[areas < SMALL]),
        _mean(ious[(areas >= SMALL) & (areas < LARGE)]),
        _mean(ious[areas >= LARGE]),
        _mean(ious >= 0.5),
        _mean(ious >= 0.75),
        len(ious),
        pictures,
    )


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if values.size else float("nan")
