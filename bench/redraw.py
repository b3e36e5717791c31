# SPDX-License-Identifier: Apache-2.0
r"""What memory makes of a mask that it was given, at once and a little later: how much is lost by remembering alone.

    esam3 scenes render data/clips_held --busy --split held_out --seed 91 --scenes 48 --frames 40 --fps 10 \
                        --width 320 --height 240
    python bench/redraw.py data/clips_held [--bundle tabletop] [--limit 0] [--json FILE]

Every object is shown by its true mask in the first frame in which it shows, as `Tracker.add(mask=...)` does it; memory
is then asked to draw it in that very frame and in later ones. Nothing else is remembered in between, no detector runs,
and a mask counts even where memory does not believe in it. Printed is the mean IoU with the true mask over the objects
that show in that frame, as a Markdown table. `grid`: the given mask itself, through the grid of cells in which the
graphs take and give masks: what a perfect memory would reach in the same frame.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from esam3_core import load
from esam3_core.data.clip import Clip, ClipFrame
from esam3_core.data.scene_clips import SceneClips
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.memory import MemoryBank
from esam3_core.runtime.object_prompt import CERTAIN, mask_logits
from esam3_core.runtime.rosters import memory_shape
from esam3_core.runtime.student import Student
from esam3_core.runtime.upsample import to_logit, upsample_mask

LATER = (0, 1, 2, 4, 8)  # frames after the mask was given
SIZES = {"below 1000 pixels": (0, 1000), "1000 to 4000": (1000, 4000), "larger": (4000, 10**9), "all": (0, 10**9)}
"""Row of the table -> area of the given mask, from..below, in pixels of the camera image."""
WAYS = ("memory", "without pointer", "mask repeated")


@dataclass(frozen=True)
class Redrawn:
    """One object that was shown."""

    clip: str
    number: int
    area: int  # pixels of the given mask
    grid: float  # IoU of the given mask with itself after it went through the grid
    ious: Mapping[str, Mapping[int, float]]  # way -> frames later -> IoU, where the object shows


def main() -> None:
    """Show, ask, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of shards rendered as clips")
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=0, help="clips, 0 = all (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    clips = SceneClips(arguments.clips)
    count = min(arguments.limit, len(clips)) if arguments.limit else len(clips)
    student = load(arguments.bundle)
    shown = [one for i in tqdm(range(count), unit="clip") for one in redraw(student, clips[i])]
    rows = {
        **{name: row(shown, "memory", *limits) for name, limits in SIZES.items()},
        **{f"all, {way}": row(shown, way, *SIZES["all"]) for way in WAYS[1:]},
    }
    print(f"{arguments.bundle}, {count} clips, {len(shown)} objects\n")
    print_table(rows, clips.rate)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"bundle": arguments.bundle, "clips": count, "rate": clips.rate, "rows": rows}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def redraw(student: Student, clip: Clip) -> Iterator[Redrawn]:
    """Every object of a clip, shown once; those that first show in one frame are asked about together."""
    firsts: dict[int, list[int]] = {}  # frame -> objects
    for index in clip.annotated:
        known = {number for numbers in firsts.values() for number in numbers}
        if new := sorted(set(clip.masks(index)) - known):
            firsts[index] = new
    for index, numbers in firsts.items():
        frames = list(clip.read([index + later for later in LATER if index + later < len(clip)]))
        yield from _redraw_from(student, clip.key, frames, numbers)


def _redraw_from(student: Student, key: str, frames: Sequence[ClipFrame], numbers: Sequence[int]) -> Iterator[Redrawn]:
    """Objects that show in the first of these frames."""
    given = [_truth(frames[0], number) for number in numbers]
    logits = np.stack([mask_logits(crop, student.memory.side) for crop in given])
    size = frames[0].image.shape[:2]
    level = to_logit(student.detector.mask_threshold)
    features = student.encode_image(frames[0].image)
    latents = student.memory.memorise(features, logits, np.full(len(given), CERTAIN, np.float32), [True] * len(given))
    banks = {way: MemoryBank(memory_shape(student), len(given)) for way in WAYS[:2]}
    keys = {way: [bank.open() for _ in given] for way, bank in banks.items()}
    for way, bank in banks.items():
        for place, one in zip(keys[way], latents, strict=True):
            bank.write(place, one, anchor=True)
    whole, places = banks["memory"], keys["memory"]
    for place, pointer in zip(places, student.memory.point(features, whole, places, logits), strict=True):
        whole.point(place, pointer, anchor=True)

    ious: list[dict[str, dict[int, float]]] = [{way: {} for way in WAYS} for _ in given]
    for frame in frames:
        later = frame.index - frames[0].index
        features = student.encode_image(frame.image)
        for bank in banks.values():
            while bank.frame < later:
                bank.tick()
        drawn = {way: student.memory.propagate(features, bank, keys[way]).logits for way, bank in banks.items()}
        for row_, number in enumerate(numbers):
            if number not in (frame.masks or {}):
                continue
            truth = _truth(frame, number)
            for way, masks in drawn.items():
                ious[row_][way][later] = _iou(upsample_mask(masks[row_], level, size), truth)
            ious[row_]["mask repeated"][later] = _iou(given[row_], truth)
    for number, crop, cells, values in zip(numbers, given, logits, ious, strict=True):
        yield Redrawn(key, number, crop.area, _iou(upsample_mask(cells, 0.0, size), crop), values)


def row(shown: Sequence[Redrawn], way: str, low: int, high: int) -> dict[str, float | None]:
    """Means over the objects of some size; None where there is none."""
    chosen = [one for one in shown if low <= one.area < high]
    values: dict[str, float | None] = {"objects": len(chosen), "grid": _mean([one.grid for one in chosen])}
    for later in LATER:
        there = [one.ious[way][later] for one in chosen if later in one.ious[way]]
        values |= {f"iou_{later}": _mean(there), f"objects_{later}": len(there)}
    return values


def print_table(rows: Mapping[str, Mapping[str, float | None]], rate: float) -> None:
    """Markdown: a row for each size, a column for each frame that was asked about."""
    later = [f"{n} later" for n in LATER[1:]]
    print("| " + " | ".join(["mask given", "objects", "grid", "the same frame", *later]) + " |")
    print("|---|" + "---:|" * (len(LATER) + 2))
    for name, values in rows.items():
        cells = [f"{values['objects']:.0f}", _cell(values["grid"]), *(_cell(values[f"iou_{n}"]) for n in LATER)]
        print("| " + " | ".join([name, *cells]) + " |")
    print(f"\n{rate:g} frames a second")


def _truth(frame: ClipFrame, number: int) -> CroppedMask:
    assert frame.masks is not None  # every frame of a rendered clip is annotated
    return frame.masks[number]


def _iou(one: CroppedMask, other: CroppedMask) -> float:
    return float(iou_matrix([one], [other])[0, 0])


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _cell(mean: float | None) -> str:
    return "-" if mean is None else f"{mean:.3f}"


if __name__ == "__main__":
    main()
