# SPDX-License-Identifier: Apache-2.0
"""Speed of the tracker node through real topics: frames processed, age of results, engines against everything else.

    python bench/ros_speed.py                      # 640x480 at 30 Hz with 1 and 5 concepts, and 1280x720
    python bench/ros_speed.py --seconds 30 --bundle /data/kitchen --json out/bench/ros_speed.json

The camera is another process that plays frames made in advance. Frames/s and ages are those a subscriber sees in a
third process; the times per frame are the node's own, from /diagnostics. `other` is everything that is not an engine:
decoding, resizing, masks, association, messages. `node` is the part of it outside the core: decoding and publishing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.config import NodeConfig
from esam3_ros.demo_nodes import IMAGE, NodeSpec
from esam3_ros.isolation import isolate
from esam3_ros.listener import Listener
from esam3_ros.processes import Nodes

CONCEPTS = ("cup", "bowl", "bottle", "book", "apple")
CAMERA_RATE = 30.0  # Hz
CLIP = 90  # frames, played in a loop
WARM_UP = 12.0  # s: the node's percentiles count over 10 s
PATIENCE = 240.0  # s until the first result


@dataclass(frozen=True)
class Case:
    """One measurement."""

    width: int
    height: int
    concepts: int


CASES = (Case(640, 480, 1), Case(640, 480, 5), Case(1280, 720, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default=NodeConfig().bundle, help="name or path of a bundle")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (20)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    isolate()
    rows = [measure(case, options.bundle, options.seconds) for case in CASES]
    print(table(rows))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"bundle": options.bundle, "cases": rows}, indent=2) + "\n")


def measure(case: Case, bundle: str, seconds: float) -> dict[str, Any]:
    """Run camera and tracker for `seconds` after the warm-up."""
    specs = nodes(case, bundle)
    with tempfile.TemporaryDirectory() as logs, Nodes(specs, Path(logs)) as children, Listener() as listener:
        listener.wait_for_results(PATIENCE, children.check)
        time.sleep(WARM_UP)
        listener.clear()
        time.sleep(seconds)
        children.check()
        ages = listener.ages()
        stages = listener.stages()
    return {
        **asdict(case),
        "frames_per_s": round(len(ages) / seconds, 2),
        "age_ms_p50": round(float(np.percentile(ages, 50)) * 1e3, 1),
        "age_ms_p95": round(float(np.percentile(ages, 95)) * 1e3, 1),
        "engines_ms": stages["engines"],
        "other_ms": stages["other"],
        "node_ms": round(stages["decode"] + stages["publish"], 2),
        "total_ms": stages["total"],
        "stages_ms": stages,
    }


def nodes(case: Case, bundle: str) -> tuple[NodeSpec, ...]:
    """Camera and tracker."""
    camera = {"width": case.width, "height": case.height, "rate": CAMERA_RATE, "clip": CLIP, "loop": True}
    # A loop puts other things where tracks were; it happens every few seconds and costs nothing.
    tracker = {"bundle": bundle, "concepts": list(CONCEPTS[: case.concepts]), "max_frame_age": 0.0}
    return (
        NodeSpec("camera", "/", {**camera, "await_subscribers": 1}),
        NodeSpec("tracker", "/esam3", tracker, (("image", IMAGE),)),
    )


def table(rows: list[dict[str, Any]]) -> str:
    """The numbers for people."""
    lines = [
        f"{'camera':<12}{'concepts':>9}{'frames/s':>10}{'age p50':>9}{'age p95':>9}"
        f"{'engines':>9}{'other':>8}{'node':>7}{'total':>8}   ms, medians"
    ]
    for row in rows:
        size = f"{row['width']}x{row['height']}"
        lines.append(
            f"{size:<12}{row['concepts']:>9}{row['frames_per_s']:>10.1f}{row['age_ms_p50']:>9.1f}{row['age_ms_p95']:>9.1f}"
            f"{row['engines_ms']:>9.1f}{row['other_ms']:>8.1f}{row['node_ms']:>7.1f}{row['total_ms']:>8.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
