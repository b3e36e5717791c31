# SPDX-License-Identifier: Apache-2.0
"""Masks as a bundle draws them, beside the true ones: what the refiner learns from, kept on disk.

One folder for each bundle and data set, written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from esam3_core.config_fit import SourceConfig
from esam3_core.config_refiner import MaskSourceConfig, RefinerConfig
from esam3_core.data.sample import Sample, noun_of
from esam3_core.data.skips import BAD_DATA, Skips
from esam3_core.distill.stage3 import open_source
from esam3_core.metrics.evaluate import chosen
from esam3_core.metrics.prompted import PromptedStudent, Shown, show
from esam3_core.runtime.bundle import REFINER_GRAPH
from esam3_core.runtime.draft import draft
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.refiner import MOST, SIDE, squash, view, window
from esam3_core.runtime.student import Student as Runtime
from esam3_core.runtime.track import Box

FORMAT = 1  # raised when files of older versions would be misread
LEAST_AREA = 20  # pixels of a mask that is refined
LEAST_IOU = 0.35  # of a drawn mask with the true one: what is worse is drawn of something else
NOUNS = 6  # of a picture that are searched for
POINTED = 0.3  # share of the prompts that are points
TREMBLE = 0.06  # deviation of a box's sides when somebody draws it, as a share of them
LEAST_SIDE = 3.0  # pixels of such a box


@dataclass(frozen=True)
class RoughMasks:
    """n masks, each in the crop that the refiner sees."""

    crops: NDArray[np.uint8]  # [n, R, R, 3] RGB
    masks: NDArray[np.uint8]  # [n, R, R] as drawn; see `to_byte`
    truth: NDArray[np.uint8]  # [n, R, R] share of a cell x 255

    def __len__(self) -> int:
        return len(self.crops)


def rough_masks(student: Runtime, source: MaskSourceConfig, config: RefinerConfig) -> RoughMasks:
    """What a bundle draws of a data set: from the cache, or made now.

    Raises:
        ValueError: it draws nothing there.
        OSError: the disk is full.
    """
    told = {"format": FORMAT, **asdict(source), "weight": 0, "share": config.share, "prompts": config.prompts,
            "seed": config.seed}  # fmt: skip
    drawn_by = student.bundle.digest_but_for(REFINER_GRAPH)
    key = hashlib.sha256((drawn_by + json.dumps(told, sort_keys=True)).encode()).hexdigest()
    path = Path(config.cache) / f"{Path(source.path).name}-{key[:12]}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = list(_draw_all(student, source, config))
        if not rows:
            raise ValueError(f"{student.bundle.name} draws nothing in {source.path}: is it the right folder?")
        with draft(path) as own, own.open("wb") as file:
            np.save(file, np.stack(rows))
    rows_seen = np.load(path, mmap_mode="r")  # [n, R, R, 5]: the processes that make batches share it
    return RoughMasks(rows_seen[..., :3], rows_seen[..., 3], rows_seen[..., 4])


def _draw_all(student: Runtime, source: MaskSourceConfig, config: RefinerConfig) -> Iterator[NDArray[np.uint8]]:
    """Crops [R, R, 5] of every picture: red, green, blue, mask as drawn, true mask."""
    pictures = open_source(SourceConfig(source.path, source.kind))
    # Every query counts, also one that another covers: what is drawn twice is drawn differently.
    threshold = config.share * student.detector.score_threshold
    student.detector = replace(student.detector, score_threshold=threshold, duplicate_iou=1.0, refine=False)
    skips = Skips()
    for index in tqdm(chosen(len(pictures), source.pictures), unit="picture", desc=f"draw {Path(source.path).name}"):
        try:
            sample = pictures[index]
        except BAD_DATA as error:
            skips.add(type(error).__name__, f"picture {index} of {source.path}: {error}")
            continue
        rng = np.random.default_rng([config.seed, index])
        for mask, truth in drawn(student, sample, config.prompts, rng):
            yield crop_of(sample.image, mask, truth)
    if skips.total:
        print(f"{source.path}: {skips}")


def drawn(
    student: Runtime, sample: Sample, prompts: int, rng: np.random.Generator
) -> Iterator[tuple[CroppedMask, CroppedMask]]:
    """Masks that a bundle draws of a picture's instances, each with the true one: found by noun, and prompted.

    Args:
        student: with `detector.refine` unset.
        prompts: instances that are prompted, each by a box that is not quite right or by a point.
    """
    truth = [CroppedMask.from_full(mask.astype(np.bool_)) for mask in sample.masks]
    nouns = dict(list(_by_noun(sample).items())[:NOUNS])
    everything = student.segment(sample.image, nouns) if nouns else []
    for noun, rows in nouns.items():
        found = [one.crop for one in everything if one.concept == noun and one.crop.area >= LEAST_AREA]
        own = [truth[row] for row in rows]
        for mask, ious in zip(found, iou_matrix(found, own), strict=True):
            if ious.max() >= LEAST_IOU:
                yield mask, own[int(ious.argmax())]
    asked = [row for row in rng.permutation(len(truth)).tolist() if truth[row].area >= LEAST_AREA][:prompts]
    if not asked or not student.bundle.has_memory:
        return
    shown = [_shown(sample.masks[row], rng) for row in asked]
    for row, mask in zip(asked, PromptedStudent(student)(sample.image, shown), strict=True):
        if mask.area >= LEAST_AREA and iou_matrix([mask], [truth[row]])[0, 0] >= LEAST_IOU:
            yield mask, truth[row]


def crop_of(image: NDArray[np.uint8], mask: CroppedMask, truth: CroppedMask) -> NDArray[np.uint8]:
    """Picture, mask and true mask in the mask's window: uint8 [R, R, 5]."""
    place = window(mask)
    left, top, width, height = place
    crop, given = view(image, mask, place)
    true = squash(truth.full()[top : top + height, left : left + width].astype(np.float32))
    row = np.empty((SIDE, SIDE, 5), np.uint8)
    row[..., :3], row[..., 3], row[..., 4] = crop, to_byte(given), np.rint(255 * true)
    return row


def to_byte(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Logits in -MOST..MOST, kept in steps of a sixteenth."""
    return np.asarray(np.rint((logits / MOST + 1) * 127.5), np.uint8)


def to_logits(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `to_byte` kept."""
    return (values.astype(np.float32) / 127.5 - 1) * MOST


def _by_noun(sample: Sample) -> dict[str, list[int]]:
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(sample.labels):
        for phrase in sorted(label.phrases | label.maybe):
            if noun_of(phrase) == phrase:
                rows.setdefault(phrase, []).append(row)
    return rows


def _shown(mask: NDArray[np.uint8], rng: np.random.Generator) -> Shown:
    """An instance as a user shows it."""
    if rng.random() < POINTED:
        return show(mask, "point")
    height, width = mask.shape
    x, y, w, h = cv2.boundingRect(np.ascontiguousarray(mask))
    low = np.clip(np.array([x, y]) + rng.normal(0, TREMBLE, 2) * (w, h), 0, (width - LEAST_SIDE, height - LEAST_SIDE))
    high = np.clip(np.array([x + w, y + h]) + rng.normal(0, TREMBLE, 2) * (w, h), low + LEAST_SIDE, (width, height))
    box: Box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    return Shown(box, None)
