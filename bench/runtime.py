# SPDX-License-Identifier: Apache-2.0
"""Where a frame's time goes in the runtime: everything that is not an engine, and, with a bundle, the engines too.

    python bench/runtime.py [--bundle tabletop [--source video.mp4]] [--frames 200] [--json FILE]

Without a bundle, detector outputs of moving objects are made up at the sizes of the shipped student, so the host's
work is measured alone: resizing the frame, reading detections, tracking them, packing their masks.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.config import DetectorConfig, RuntimeConfig, StudentConfig, TrackerConfig
from esam3_core.runtime.detector import Raw, read_detections
from esam3_core.runtime.masks import pack
from esam3_core.runtime.preprocess import resize_frame
from esam3_core.runtime.roster import Roster

CAMERAS = [(480, 640), (720, 1280), (1080, 1920)]
OBJECTS = [1, 5, 10]
BUDGET = 5.0  # ms per frame at 720p that we aim at: a sixth of a frame at 30 Hz, the rest is for the engines
Times = dict[str, list[float]]


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", help="also run the engines of this bundle")
    parser.add_argument("--source", help="frames for the bundle; default: noise of 1280x720")
    parser.add_argument("--concepts", nargs="+", default=["cup"], help="for the bundle")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the engines, 0 = all")
    parser.add_argument("--frames", type=int, default=200, help="per row")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    rows = [host_row(size, objects, arguments.frames) for size in CAMERAS for objects in OBJECTS]
    print(f"host work per frame in ms, median (95 %); budget {BUDGET:.0f} ms at 1280x720")
    print_table(rows)
    if arguments.bundle:
        rows.append(bundle_row(arguments))
        print(f"\nbundle {arguments.bundle}, {len(arguments.concepts)} concepts, ms per frame")
        print_table(rows[-1:])
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def host_row(size: tuple[int, int], objects: int, frames: int) -> dict[str, Any]:
    """What the host does for `objects` instances of one concept in a camera image of `size` (H, W)."""
    config = StudentConfig()
    image = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    roster = Roster(TrackerConfig())
    times: Times = defaultdict(list)
    for index in range(frames + 10):
        raw = made_up_outputs(config, objects, index)
        timed(times, "preprocess", lambda: resize_frame(image, config.size))
        found = timed(times, "postprocess", lambda raw=raw: read_detections(raw, ("cup",), DetectorConfig(), size))
        tracks = timed(times, "associate", lambda found=found, at=index / 30: roster.update(found, at))
        timed(times, "pack", lambda tracks=tracks: [pack(track.crop) for track in tracks])
    assert len(tracks) == objects, f"{len(tracks)} tracks of {objects} objects"
    return {"camera": f"{size[1]}x{size[0]}", "objects": objects, **summarise(times)}


def made_up_outputs(config: StudentConfig, objects: int, index: int) -> Raw:
    """Detector outputs in which `objects` discs, each about 2 % of the frame, drift to the right; the rest is noise."""
    generator = np.random.default_rng(index)
    cells = config.size // 4
    rows, columns = np.mgrid[:cells, :cells]
    masks = generator.normal(-6, 0.5, (1, config.masks, cells, cells)).astype(np.float32)
    boxes = generator.uniform(0.2, 0.4, (1, config.queries, 4)).astype(np.float32)
    logits = np.full((1, config.queries), -5, np.float32)
    radius = 0.07 * cells
    for k in range(objects):
        x, y = (0.1 + 0.19 * (k % 5)) * cells + 0.02 * index, (0.25 + 0.4 * (k // 5)) * cells
        masks[0, k] = 2 * (radius - np.hypot(columns - x, rows - y))
        boxes[0, k] = x / cells, y / cells, 2 * radius / cells, 2 * radius / cells
        logits[0, k] = 4
    kept = np.arange(config.masks, dtype=np.int64)[None]
    return {"boxes": boxes, "logits": logits, "presence": np.full(1, 4, np.float32), "kept": kept, "masks": masks}


def bundle_row(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every stage of a real tracker."""
    import esam3_core

    start = time.perf_counter()
    student = esam3_core.load(arguments.bundle, RuntimeConfig(threads=arguments.threads))
    tracker = student.track(arguments.concepts)
    student.warm_up(arguments.concepts)
    ready = time.perf_counter() - start
    times: Times = defaultdict(list)
    for stamp, image in islice(frames_of(arguments.source), arguments.frames + 10):
        timed(times, "total", lambda image=image, stamp=stamp: tracker.step(image, stamp))
        for stage, ms in tracker.timings.items():
            times[stage].append(ms)
    times["total"] = times.pop("total")  # last column
    return {"bundle": arguments.bundle, "load_s": round(ready, 2), **summarise(times, total=False)}


def frames_of(source: str | None) -> Iterator[tuple[float, Any]]:
    """Stamps and images."""
    if source:
        from esam3_core.runtime.sources import open_source

        for _, stamp, image in open_source(source):
            yield stamp, image
        return
    image = np.random.default_rng(0).integers(0, 255, (720, 1280, 3), np.uint8)
    for index in range(10**9):
        yield index / 30, image


def timed(times: Times, stage: str, work: Callable[[], Any]) -> Any:
    """Do `work` and note its time."""
    start = time.perf_counter()
    result = work()
    times[stage].append((time.perf_counter() - start) * 1e3)
    return result


def summarise(times: Times, total: bool = True) -> dict[str, Any]:
    """Median and 95th percentile per stage; the first ten frames warm up."""
    columns = {stage: np.array(values[10:]) for stage, values in times.items()}
    if total:
        columns["total"] = np.sum(list(columns.values()), axis=0)
    return {
        stage: {"p50": round(float(np.median(values)), 3), "p95": round(float(np.percentile(values, 95)), 3)}
        for stage, values in columns.items()
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """One line per row, all with the same columns."""
    print("  ".join(f"{name:>14}" for name in rows[0]))
    for row in rows:
        cells = (f"{v['p50']:.2f} ({v['p95']:.2f})" if isinstance(v, dict) else str(v) for v in row.values())
        print("  ".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    main()
