# SPDX-License-Identifier: Apache-2.0
"""From the start of a process to the first mask: the tracker node, and `esam3 segment` without ROS.

    python bench/ros_start.py                      # five starts of each
    python bench/ros_start.py --starts 3 --bundle /data/kitchen --json out/bench/ros_start.json

The camera already runs, at 640x480 and 30 Hz, when a tracker is started. Times are seconds of the wall clock from the
start of the tracker's process to its first TrackArray, and to the first TrackArray with a mask: the interpreter, every
import, the bundle, the warm-up, the discovery of the topics, and `min_hits` frames are in it. `its CPU` is what all
threads of the tracker's process have used by then: unlike the clock on the wall, it hardly depends on what else the
machine does. `segment` is the whole life of `esam3 segment PICTURE --concept cup --json FILE`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from ros_speed import Case, nodes

from esam3_core.config import NodeConfig
from esam3_ros.demo_nodes import NodeSpec
from esam3_ros.isolation import isolate
from esam3_ros.listener import Listener
from esam3_ros.processes import Nodes
from esam3_ros.speed import PATIENCE

BUDGET = 3.0  # s from the start to the first mask that we aim at
LOOK = 0.005  # s between looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default=NodeConfig().bundle, help="name or path of a bundle")
    parser.add_argument("--starts", type=int, default=5, help="of each kind (5)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    options = parser.parse_args()
    isolate()
    camera, tracker = nodes(Case(640, 480, 1), options.bundle)
    times: dict[str, list[float]] = {"first result": [], "first mask": [], "its CPU": [], "segment": []}
    with tempfile.TemporaryDirectory() as scratch:
        with Nodes([_alone(camera)], Path(scratch) / "camera") as cameras, Listener() as listener:
            listener.wait_for_images(PATIENCE, cameras.check)
            for number in range(options.starts):
                started = start_tracker(tracker, listener, Path(scratch) / f"tracker{number}")
                for name, value in zip(times, started, strict=False):
                    times[name].append(value)
        times["segment"] = [segment(options.bundle, Path(scratch)) for _ in range(options.starts)]
    print(f"{'from start to':<16}{'median':>8}{'worst':>8}   s; budget to the first mask: {BUDGET:.0f} s")
    for name, values in times.items():
        print(f"{name:<16}{np.median(values):>8.2f}{max(values):>8.2f}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        rounded = {name: [round(value, 3) for value in values] for name, values in times.items()}
        options.json.write_text(json.dumps({"bundle": options.bundle, "seconds": rounded}, indent=1) + "\n")


def _alone(camera: NodeSpec) -> NodeSpec:
    """A camera that waits for nobody."""
    return NodeSpec(camera.executable, camera.namespace, {**camera.parameters, "await_subscribers": 0})


def start_tracker(tracker: NodeSpec, listener: Listener, logs: Path) -> tuple[float, float, float]:
    """Seconds to the first TrackArray and to the first with a mask, and CPU seconds used by then."""
    listener.clear()
    start = time.monotonic()
    with Nodes([tracker], logs) as children:
        first = None
        while time.monotonic() - start < PATIENCE:
            children.check()
            if first is None and listener.ages():
                first = time.monotonic() - start
            if first is not None and listener.masks():
                return first, time.monotonic() - start, cpu_seconds(children.pids()[tracker.executable])
            time.sleep(LOOK)
        raise TimeoutError(f"no mask in {PATIENCE:.0f} s; the log ends with\n{children.report()}")


def cpu_seconds(pid: int) -> float:
    """What a process has used, in user and in system mode; see proc(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def segment(bundle: str, folder: Path) -> float:
    """Seconds of one `esam3 segment` of a picture of noise: what it finds takes no time."""
    picture = folder / "noise.png"
    if not picture.exists():
        cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8))
    line = [sys.executable, "-m", "esam3_core", "segment", str(picture), "--concept", "cup", "--bundle", bundle]
    start = time.monotonic()
    subprocess.run([*line, "--json", str(folder / "found.json")], check=True, capture_output=True)
    return time.monotonic() - start


if __name__ == "__main__":
    main()
