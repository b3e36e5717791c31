# SPDX-License-Identifier: Apache-2.0
r"""What the refiner makes of the masks that a bundle draws, and what that costs.

    python bench/refiner.py [--bundle tabletop] [--scenes data/scenes_val] [--real data/real/coco_mix] [--limit 100]
                            [--refiner RUN] [--threads 1] [--json FILE]

The instances of pictures that trained nothing (held-out scenes, the validation part of a real folder) are drawn as the
runtime draws them: found by their noun, and shown by a box or a point. Printed are the mean IoU with the true masks and
the share of masks past the ten IoUs 0.5 to 0.95 that cgF1 counts, without refiner and with it, over masks of IoU 0.5 at
least; then ms for some numbers of masks in one run. Masks cut out of the true ones would be as good as the grid of the
crops: `grid` is the IoU of a true mask that went through it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from memory import milliseconds, picture_with_masks
from tqdm import tqdm

from esam3_core import load
from esam3_core.config import RuntimeConfig
from esam3_core.data.real import RealFolder
from esam3_core.data.sample import Samples
from esam3_core.data.scenes import SceneShards
from esam3_core.distill.refiner_masks import drawn
from esam3_core.distill.renew import renew
from esam3_core.metrics.evaluate import chosen
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.refiner import squash, window
from esam3_core.runtime.student import Student

LEAST_IOU = 0.5
STEPS = np.arange(0.5, 1.0, 0.05)
SIZES = {"below 1000 pixels": (0, 1000), "1000 to 4000": (1000, 4000), "larger": (4000, 10**9), "all": (0, 10**9)}
"""Row of the table -> area of the true mask, from..below, in pixels."""
MASKS = (1, 4, 8, 16)  # in one run, when time is taken
RUNS = 40


@dataclass(frozen=True)
class Refined:
    """One mask."""

    area: int  # pixels of the true mask
    before: float  # IoU
    after: float
    grid: float


def main() -> None:
    """Draw, refine, print tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--refiner", type=Path, metavar="RUN", help="of a run, instead of the bundle's own")
    parser.add_argument("--scenes", type=Path, default=Path("data/scenes_val"))
    parser.add_argument("--real", type=Path, default=Path("data/real/coco_mix"))
    parser.add_argument("--limit", type=int, default=100, help="pictures of each, 0 = all (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    config = RuntimeConfig(device="cpu", threads=arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        bundle = arguments.bundle
        if arguments.refiner:
            own = load(bundle).bundle.folder
            bundle = renew(own, Path(scratch) / own.name, own.name, refiner=arguments.refiner)
        student = load(bundle, config)
        sources: dict[str, Samples] = {
            "held-out scenes": SceneShards(arguments.scenes),
            "real pictures": RealFolder(arguments.real, "val"),
        }
        print("| pictures | true mask | masks | IoU | refined | grid | past 0.5 .. 0.95 % | refined % |")
        print("|---|---|---:|---:|---:|---:|---:|---:|")
        result: dict[str, object] = {"bundle": arguments.bundle}
        for title, samples in sources.items():
            found = refine_all(student, samples, arguments.limit)
            result[title] = [dataclasses.asdict(one) for one in found]
            for name, (low, high) in SIZES.items():
                print_row(title, name, [one for one in found if low <= one.area < high])
        result["ms"] = times(student)
        print(f"\nms on {arguments.threads} CPU threads: {result['ms']}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def refine_all(student: Student, samples: Samples, limit: int) -> list[Refined]:
    """Every mask that is drawn of some pictures."""
    rough, sharp = (dataclasses.replace(student.bundle.detector, refine=refine) for refine in (False, True))
    found: list[Refined] = []
    for index in tqdm(chosen(len(samples), limit), unit="picture"):
        sample = samples[index]
        student.detector = rough
        pairs = list(drawn(student, sample, 6, np.random.default_rng(index)))
        student.detector = sharp
        refined = student.refine(sample.image, [mask for mask, _ in pairs])
        for (mask, truth), now in zip(pairs, refined, strict=True):
            before, after = (float(iou_matrix([one], [truth])[0, 0]) for one in (mask, now))
            if before >= LEAST_IOU:
                found.append(Refined(truth.area, before, after, through_grid(truth)))
    return found


def through_grid(truth: CroppedMask) -> float:
    """IoU of a true mask with itself after it went through a crop's cells."""
    left, top, width, height = window(truth)
    cells = squash(truth.cut((left, top, width, height)).astype(np.float32))
    bits = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    return float(iou_matrix([CroppedMask(bits, left, top, truth.size).tight()], [truth])[0, 0])


def print_row(title: str, name: str, found: Sequence[Refined]) -> None:
    """A row of the table."""
    if not found:
        return
    before, after = (np.array([getattr(one, when) for one in found]) for when in ("before", "after"))
    past = [100 * float((ious[:, None] >= STEPS).mean()) for ious in (before, after)]
    grid = statistics.mean(one.grid for one in found)
    print(
        f"| {title} | {name} | {len(found)} | {before.mean():.3f} | {after.mean():.3f} | {grid:.3f} | {past[0]:.1f} | "
        f"{past[1]:.1f} |"
    )


def times(student: Student) -> dict[int, float]:
    """Median ms of refining so many masks of a 640 x 480 frame, crops and all."""
    return {n: round(milliseconds(partial(student.refine, *picture_with_masks(n)), RUNS), 2) for n in MASKS}


if __name__ == "__main__":
    main()
