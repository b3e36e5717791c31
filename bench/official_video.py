# SPDX-License-Identifier: Apache-2.0
"""SAM 3's tracker streaming on a CPU: time per frame, and whether memory stays what it was.

    python bench/official_video.py BUNDLE [--frames 30] [--json FILE]

BUNDLE comes from `esam3 import --tracker`. One object, shown by a mask, on a picture that moves; no weights are needed
to know what that costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

import esam3_core
from esam3_core.config import RuntimeConfig, TrackerConfig

SIZE = (720, 1280)  # H, W of the picture
SHIFT = 8  # pixels per frame
RATE = 10.0  # frames per second of the stream's clock


def main() -> None:
    """Stream, print a line per frame and a summary, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    student = esam3_core.load(arguments.bundle, RuntimeConfig(device="cpu", threads=arguments.threads))
    tracker = student.track(config=TrackerConfig(tracker="memory", max_tracks=1))
    cells = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    picture = cells.repeat(SIZE[0] // 9, 0).repeat(SIZE[1] // 16, 1)
    mask = np.zeros(SIZE, bool)
    mask[240:480, 400:640] = True
    tracker.add(picture, 0.0, mask=mask)
    rows: list[dict[str, Any]] = []
    for number in range(1, arguments.frames + 1):
        start = time.perf_counter()
        tracks = tracker.step(np.roll(picture, SHIFT * number, axis=1), number / RATE)
        spent = time.perf_counter() - start
        rows.append({"frame": number, "s": spent, "rss": resident(), "stages": dict(tracker.timings)})
        print(f"frame {number:3}: {spent:6.2f} s, {resident():6.0f} MB, {len(tracks)} tracks", flush=True)
    early, last = rows[len(rows) // 3], rows[-1]["stages"]
    print(f"median {statistics.median(row['s'] for row in rows):.2f} s per frame; memory {early['rss']:.0f} MB after a "
          f"third of the frames, {rows[-1]['rss']:.0f} MB at the end")
    print("stages of the last frame, ms: " + ", ".join(f"{name} {spent:.0f}" for name, spent in last.items()))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def resident() -> float:
    """Memory of this process in MB."""
    row = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmRSS"))
    return int(row.split()[1]) / 1e3


if __name__ == "__main__":
    main()
