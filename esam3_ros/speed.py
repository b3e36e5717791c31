# SPDX-License-Identifier: Apache-2.0
"""How fast the tracker node is through real topics, measured by a subscriber in a process of its own.

    python -m esam3_ros.speed OPTIONS.json      # prints one JSON object; `esam3 bench --ros` calls it

The camera is another process that plays frames made in advance. Frames/s and ages are those the subscriber sees; the
times per frame are the node's own, from /diagnostics. `other` is everything that is not an engine: decoding, resizing,
masks, association, messages. `node` is the part of it outside the core: decoding and publishing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from esam3_ros.demo_nodes import IMAGE, NodeSpec
from esam3_ros.isolation import isolate
from esam3_ros.listener import Listener
from esam3_ros.processes import Nodes

WARM_UP = 12.0  # s: the node's percentiles count over 10 s
PATIENCE = 240.0  # s until the first result


def main(options_file: str) -> None:
    """Measure what a JSON file describes: camera, tracker (parameters of the nodes), seconds, warm_up."""
    options = json.loads(Path(options_file).read_text(encoding="utf-8"))
    isolate()
    print(json.dumps(measure(**options)))


def camera_and_tracker(camera: Mapping[str, Any], tracker: Mapping[str, Any]) -> tuple[NodeSpec, NodeSpec]:
    """A camera that loops, and a tracker for which no frame is too old; both take further parameters."""
    return (
        NodeSpec("camera", "/", {"loop": True, "await_subscribers": 1, **camera}),
        NodeSpec("tracker", "/esam3", {"max_frame_age": 0.0, **tracker}, (("image", IMAGE),)),
    )


def measure(
    camera: Mapping[str, Any], tracker: Mapping[str, Any], seconds: float, warm_up: float = WARM_UP
) -> dict[str, Any]:
    """Run camera and tracker for `seconds` after `warm_up` seconds.

    Args:
        camera: parameters of the camera node.
        tracker: parameters of the tracker node; no frame is too old for it.
    """
    specs = camera_and_tracker(camera, tracker)
    with tempfile.TemporaryDirectory() as logs, Nodes(specs, Path(logs)) as children, Listener() as listener:
        listener.wait_for_results(PATIENCE, children.check)
        time.sleep(warm_up)
        listener.clear()
        started = time.monotonic()
        time.sleep(seconds)
        listener.wait_for_results(PATIENCE, children.check)  # a machine that is slower than one result in `seconds`
        ages, masks, measured = listener.ages(), listener.masks(), time.monotonic() - started
        listener.wait_for_stages(PATIENCE, children.check)
        stages = listener.stages()
    return {
        "frames_per_s": round(len(ages) / measured, 2),
        "tracks": round(masks / len(ages), 1),
        "age_ms_p50": round(float(np.percentile(ages, 50)) * 1e3, 1),
        "age_ms_p95": round(float(np.percentile(ages, 95)) * 1e3, 1),
        "engines_ms": stages["engines"],
        "other_ms": stages["other"],
        "node_ms": round(stages["decode"] + stages["publish"], 2),
        "total_ms": stages["total"],
        "stages_ms": stages,
    }


if __name__ == "__main__":
    main(sys.argv[1])
