# SPDX-License-Identifier: Apache-2.0
"""Speed of the tracker node through real topics: frames processed, age of results, engines against everything else.

    python bench/ros_speed.py                      # 640x480 at 30 Hz with 1, 2 and 5 concepts, and 1280x720
    python bench/ros_speed.py --seconds 30 --bundle /data/kitchen --detect-every 3 --json out/bench/ros_speed.json

`esam3_ros.speed` says what the columns mean.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from esam3_core.config import NodeConfig
from esam3_ros.demo_nodes import NodeSpec
from esam3_ros.isolation import isolate
from esam3_ros.speed import camera_and_tracker, measure

CONCEPTS = ("cup", "bowl", "bottle", "book", "apple")
CAMERA_RATE = 30.0  # Hz
CLIP = 90  # frames, played in a loop


@dataclass(frozen=True)
class Case:
    """One measurement."""

    width: int
    height: int
    concepts: int


CASES = (Case(640, 480, 1), Case(640, 480, 2), Case(640, 480, 5), Case(1280, 720, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default=NodeConfig().bundle, help="name or path of a bundle")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (20)")
    parser.add_argument("--detect-every", type=int, default=0, help="frames, 0 = as the bundle says (0)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    isolate()
    rows = [row_of(case, options.bundle, options.seconds, options.detect_every) for case in CASES]
    print(table(rows))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"bundle": options.bundle, "cases": rows}, indent=2) + "\n")


def row_of(case: Case, bundle: str, seconds: float, detect_every: int) -> dict[str, Any]:
    """One measurement; `detect_every` 0 leaves it to the bundle."""
    camera, tracker = parameters(case, bundle)
    if detect_every:
        tracker["detect_every"] = detect_every
    return {**asdict(case), **measure(camera, tracker, seconds)}


def parameters(case: Case, bundle: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the camera and of the tracker."""
    camera = {"width": case.width, "height": case.height, "rate": CAMERA_RATE, "clip": CLIP}
    # A loop puts other things where tracks were; it happens every few seconds and costs nothing.
    return camera, {"bundle": bundle, "concepts": list(CONCEPTS[: case.concepts])}


def nodes(case: Case, bundle: str) -> tuple[NodeSpec, NodeSpec]:
    """Camera and tracker of one measurement."""
    return camera_and_tracker(*parameters(case, bundle))


def table(rows: list[dict[str, Any]]) -> str:
    """The numbers for people."""
    lines = [
        f"{'camera':<12}{'concepts':>9}{'tracks':>8}{'frames/s':>10}{'age p50':>9}{'age p95':>9}"
        f"{'engines':>9}{'other':>8}{'node':>7}{'total':>8}   ms, medians"
    ]
    for row in rows:
        size = f"{row['width']}x{row['height']}"
        lines.append(
            f"{size:<12}{row['concepts']:>9}{row['tracks']:>8.1f}{row['frames_per_s']:>10.1f}"
            f"{row['age_ms_p50']:>9.1f}{row['age_ms_p95']:>9.1f}"
            f"{row['engines_ms']:>9.1f}{row['other_ms']:>8.1f}{row['node_ms']:>7.1f}{row['total_ms']:>8.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
