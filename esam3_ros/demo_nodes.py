# SPDX-License-Identifier: Apache-2.0
"""The nodes of the demo and their parameters: one list for `python -m esam3_ros.demo` and for launch/demo.launch.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

IMAGE = "/camera/image_raw"
CAMERA_INFO = "/camera/camera_info"
TRUTH = "/camera/truth"
TRUTH_INFO = "/camera/truth_info"
TRACKS = "/esam3/tracker/tracks"
PICTURE = "/esam3/overlay/image"


@dataclass(frozen=True)
class NodeSpec:
    """One node: its executable (which is also its module and its name), parameters and remappings."""

    executable: str
    namespace: str
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()


def demo_nodes(camera: dict[str, Any], concept: Any, bundle: Any) -> tuple[NodeSpec, ...]:
    """Camera, tracker and overlay; arguments are values or launch substitutions.

    Args:
        camera: its parameters; by default it waits for the tracker, because a recording that nobody sees is lost.
        concept: what to look for, several with commas.
        bundle: name or path.
    """
    camera = {"await_subscribers": 1, **camera}
    # A demo shows all it can: on a slow machine late is better than nothing.
    tracker = {"concepts": concept, "bundle": bundle, "max_frame_age": 0.0}
    return (
        NodeSpec("camera", "/", camera),
        NodeSpec("tracker", "/esam3", tracker, (("image", IMAGE),)),
        NodeSpec("overlay", "/esam3", {}, (("image", IMAGE), ("tracks", TRACKS))),
    )
