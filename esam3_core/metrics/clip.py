# SPDX-License-Identifier: Apache-2.0
"""One concept in a video, measured against masks of some of its frames."""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from esam3_core.metrics.video import MaskScores, score_masks
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.sources import open_source
from esam3_core.runtime.student import Student

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class SparseMasks:
    """Masks of one object in some frames of a clip."""

    frames: NDArray[np.int64]  # [n] frame numbers from 0
    masks: NDArray[np.bool_]  # [n, H, W]


def read_masks(path: Path) -> SparseMasks:
    """Read `frames` [n], `shape` (H, W) and `bits` [n, ceil(H W / 8)] (numpy.packbits of each mask) from an .npz.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no masks at {path}: give an .npz with frames, shape and bits")
    try:
        return _read_npz(path)
    except (EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is empty, cut short or no .npz ({error}): write it again") from error


def _read_npz(path: Path) -> SparseMasks:
    with np.load(path) as data:
        missing = {"frames", "shape", "bits"} - set(data.files)
        if missing:
            raise ValueError(f"{path} lacks {', '.join(sorted(missing))}: it must hold frames, shape and bits")
        height, width = (int(side) for side in data["shape"])
        bits = np.unpackbits(data["bits"], axis=1, count=height * width)
        return SparseMasks(data["frames"], bits.reshape(-1, height, width).astype(bool))


@dataclass(frozen=True)
class ClipScores:
    """How one concept is found in a clip."""

    best: MaskScores  # the best-scoring detection of each frame alone
    union: MaskScores  # all detections of each frame together: what an overlay shows
    tracked: MaskScores  # all tracks of each frame together, the clip followed from its first frame
    detections: float  # per measured frame
    tracks: int  # ids over the whole clip

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        values = dataclasses.asdict(self)
        for name in ("best", "union", "tracked"):
            values[name]["j_and_f"] = getattr(self, name).j_and_f
        return values


def evaluate_clip(student: Student, video: Path, masks: SparseMasks, concept: str) -> ClipScores:
    """Detect and follow `concept` in a video.

    Args:
        student: detects with its own score threshold.
        masks: of the object; only their frames are measured, the tracker sees all.

    Raises:
        ValueError: the masks do not fit the video.
    """
    truths = dict(zip(masks.frames.tolist(), masks.masks, strict=True))
    tracker = student.track([concept])
    best: list[tuple[Mask, Mask]] = []
    union: list[tuple[Mask, Mask]] = []
    tracked: list[tuple[Mask, Mask]] = []
    detections, ids = [], set()
    source = open_source(video)
    for index, stamp, image in tqdm(source, total=source.length, unit="frame", desc=video.name):
        tracks = tracker.step(image, stamp)
        ids |= {track.id for track in tracks}
        truth = truths.get(index)
        if truth is None:
            continue
        if truth.shape != image.shape[:2]:
            raise ValueError(f"masks of {truth.shape} do not fit frames of {image.shape[:2]}: are they of this clip?")
        found = student.segment(image, [concept])
        detections.append(len(found))
        best.append((merge([one.crop for one in found[:1]], truth.shape), truth))
        union.append((merge([one.crop for one in found], truth.shape), truth))
        tracked.append((merge([one.crop for one in tracks], truth.shape), truth))
    return ClipScores(score_masks(best), score_masks(union), score_masks(tracked), float(np.mean(detections)), len(ids))


def merge(crops: list[CroppedMask], size: tuple[int, ...]) -> Mask:
    """All masks together: bool [H, W]."""
    whole = np.zeros(size, bool)
    for crop in crops:
        x, y, width, height = crop.roi
        whole[y : y + height, x : x + width] |= crop.bits
    return whole


def clip_markdown(name: str, clip: str, concept: str, scores: ClipScores) -> str:
    """A table of a clip's scores, in per cent."""
    rows = {
        "best detection per frame": scores.best,
        "all detections per frame": scores.union,
        "tracker": scores.tracked,
    }
    lines = [
        f'{name} on {clip}, "{concept}": {scores.best.frames} frames with a mask, '
        f"{scores.detections:.2f} detections per frame, {scores.tracks} track ids",
        "",
        "| mask | IoU (J) | boundary (F) | J&F | frames missed |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for label, value in rows.items():
        numbers = (f"{100 * number:.1f}" for number in (value.j, value.f, value.j_and_f))
        lines.append(f"| {label} | {' | '.join(numbers)} | {value.lost} |")
    return "\n".join(lines) + "\n"
