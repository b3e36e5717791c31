# SPDX-License-Identifier: Apache-2.0
"""What a subscriber sees of a tracker node: ages of its results, and its diagnostics. For benchmarks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo

from esam3_ros.conversions import seconds
from esam3_ros.demo_nodes import CAMERA_INFO, TRACKS
from esam3_ros.msg import TrackArray
from esam3_ros.qos import DIAGNOSTICS
from esam3_ros.spinner import Spinner

NAME = "esam3/tracker"


class Listener:
    """Listens on a thread of its own, in a `with` block."""

    def __init__(self) -> None:
        self._ages: list[float] = []
        self._masks = 0
        self._images = 0
        self._values: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        self._node = Node("esam3_listener", context=self._context)
        self._node.create_subscription(TrackArray, TRACKS, self._on_tracks, DIAGNOSTICS)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        # Says that an image was sent, and is small.
        self._node.create_subscription(CameraInfo, CAMERA_INFO, self._on_camera_info, DIAGNOSTICS)
        self._spinner = Spinner(self._node)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._spinner.stop()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def ages(self) -> list[float]:
        """Ages in s of the results since `clear`, when they came here."""
        with self._lock:
            return list(self._ages)

    def masks(self) -> int:
        """Masks that came since `clear`."""
        with self._lock:
            return self._masks

    def clear(self) -> None:
        """Forget ages and masks."""
        with self._lock:
            self._ages.clear()
            self._masks = 0

    def values(self, part: str) -> dict[str, str]:
        """The newest diagnostic values of the tracker's `part`."""
        with self._lock:
            return dict(self._values.get(f"{NAME}: {part}", {}))

    def stages(self) -> dict[str, float]:
        """Median ms of every stage of a frame, by the node's own clock."""
        suffix = " p50 (ms)"
        values = self.values("inference")
        return {name.removesuffix(suffix): float(value) for name, value in values.items() if name.endswith(suffix)}

    def wait_for_results(self, patience: float, check: Callable[[], None]) -> None:
        """Wait for the first result; `check` raises if it will never come.

        Raises:
            TimeoutError: none came in `patience` seconds.
        """
        self._wait_for(self.ages, f"no TrackArray on {TRACKS}", patience, check)

    def wait_for_stages(self, patience: float, check: Callable[[], None]) -> None:
        """Wait until the node has told how long a frame takes; `check` raises if it will never do.

        Raises:
            TimeoutError: it did not in `patience` seconds.
        """
        self._wait_for(lambda: "engines" in self.stages(), "no stages in /diagnostics", patience, check)

    def wait_for_images(self, patience: float, check: Callable[[], None]) -> None:
        """Wait until the camera shows images; `check` raises if it will never do.

        Raises:
            TimeoutError: none came in `patience` seconds.
        """
        self._wait_for(lambda: self._images, f"no CameraInfo on {CAMERA_INFO}", patience, check)

    @staticmethod
    def _wait_for(condition: Callable[[], Any], problem: str, patience: float, check: Callable[[], None]) -> None:
        deadline = time.monotonic() + patience
        while not condition():
            check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{problem} in {patience:g} s")
            time.sleep(0.1)

    def _on_tracks(self, message: TrackArray) -> None:
        age = self._node.get_clock().now().nanoseconds * 1e-9 - seconds(message.header.stamp)
        with self._lock:
            self._ages.append(age)
            self._masks += sum(len(track.mask.data) > 0 for track in message.tracks)

    def _on_camera_info(self, _: CameraInfo) -> None:
        self._images += 1

    def _on_diagnostics(self, message: Any) -> None:
        with self._lock:
            for status in message.status:
                self._values[status.name] = {value.key: value.value for value in status.values}
