# SPDX-License-Identifier: Apache-2.0
"""The same clip through camera and tracker node, over real topics; `esam3_ros.speed` measures it in its own process."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.frames import frames
from esam3_core.deploy.gates import Clip
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.errors import Esam3Error

RATE = 30.0  # Hz of the camera
PLAYED = 90  # of our own frames, in a loop


def measure_ros(
    bundle: Bundle, clip: Clip, config: RuntimeConfig, seconds: float = 15.0, warm_up: float = 12.0
) -> dict[str, Any]:
    """Frames/s and ages at a subscriber, and the node's own times in ms.

    Args:
        seconds: that are measured.
        warm_up: seconds before; the node's own percentiles count over 10 s.

    Raises:
        Esam3Error: ROS 2 or our nodes are not there, or a node ended.
    """
    if importlib.util.find_spec("esam3_ros") is None or importlib.util.find_spec("rclpy") is None:
        raise Esam3Error("--ros needs ROS 2 and esam3_ros: source install/setup.bash, or scripts/env.sh of a checkout")
    with tempfile.TemporaryDirectory() as scratch:
        source = clip.source or _write_frames(Path(scratch) / "frames")
        options = {
            "camera": {"source": str(Path(source).absolute()) if Path(source).exists() else source, "rate": RATE},
            "tracker": {
                "bundle": str(bundle.folder), "concepts": list(clip.concepts), "backend": config.backend,
                "device": config.device, "threads": config.threads,
            },
            "seconds": seconds,
            "warm_up": warm_up,
        }  # fmt: skip
        path = Path(scratch) / "options.json"
        path.write_text(json.dumps(options), encoding="utf-8")
        done = subprocess.run([sys.executable, "-m", "esam3_ros.speed", str(path)], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise Esam3Error(f"the nodes could not be measured: {last}; `esam3 doctor` says what to look at")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def as_markdown(found: dict[str, Any]) -> str:
    """A table of what was measured."""
    return (
        "| through ROS | frames/s | age p50 | age p95 | engines | other | of it node | total |\n"
        "|---|---|---|---|---|---|---|---|\n"
        f"| camera at {RATE:g} Hz | {found['frames_per_s']} | {found['age_ms_p50']} | {found['age_ms_p95']} | "
        f"{found['engines_ms']} | {found['other_ms']} | {found['node_ms']} | {found['total_ms']} |\n"
    )


def _write_frames(folder: Path) -> str:
    folder.mkdir()
    for index, (_, image) in enumerate(frames(None, PLAYED)):
        cv2.imwrite(str(folder / f"{index:04}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return str(folder)
