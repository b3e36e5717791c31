# SPDX-License-Identifier: Apache-2.0
"""The camera node: shows a scene world with its truth, a video, a folder of images or a bag, like a camera driver.

Like one, it ends with an error when it has nothing to show.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header, String

from esam3_core.config import CameraConfig
from esam3_core.runtime import Esam3Error
from esam3_ros.camera_sources import CameraFrame, CameraSource, Prefetch
from esam3_ros.conversions import to_image
from esam3_ros.executor_queue import ExecutorQueue
from esam3_ros.parameters import Parameters
from esam3_ros.qos import overridable
from esam3_ros.run import run_node
from esam3_ros.specs import CAMERA

QUEUE = 10  # truth is small or only asked for by tests and the demo, which want all of it


class CameraNode(Node):
    """Publishes `~/image_raw` and `~/camera_info`; of a scene also `~/depth`, `~/truth` and `~/truth_info`."""

    def __init__(self, **options: Any) -> None:
        """Open the source.

        Raises:
            SourceError: the source cannot be read; the message says why.
        """
        super().__init__("camera", **options)
        self.parameters = Parameters(self, CAMERA)
        for problem in self.parameters.problems.values():
            self.get_logger().error(f"{problem}; the default is used")
        self.config = self.parameters.config(CameraConfig)
        reliability = ReliabilityPolicy[self.config.reliability.upper()]
        live = QoSProfile(depth=1, reliability=reliability, history=HistoryPolicy.KEEP_LAST)
        every = QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
        self._image = self.create_publisher(Image, "~/image_raw", **overridable(live))
        self._info = self.create_publisher(CameraInfo, "~/camera_info", **overridable(live))
        self._depth = self.create_publisher(Image, "~/depth", **overridable(live))
        self._truth = self.create_publisher(Image, "~/truth", every)
        self._truth_info = self.create_publisher(String, "~/truth_info", every)
        source = CameraSource(self.config)
        self._queue = ExecutorQueue(self)
        self._period = 1.0 / source.rate
        self._prefetch = Prefetch(source, self.config.loop)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publish", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End both threads; call it before the node is destroyed."""
        self._stopping.set()
        self._prefetch.stop()
        self._thread.join(2.0)

    def _run(self) -> None:
        try:
            shown = self._show_all()
            if not self._stopping.is_set():
                self.get_logger().info(f"{self.config.source} ended after {shown} frames; loop:=true repeats it")
        except Exception as error:
            if self.context.ok() and not self._stopping.is_set():
                detail = str(error) if isinstance(error, Esam3Error) else traceback.format_exc()
                self.get_logger().error(f"{self.config.source} stopped: {detail}")
                self._queue.put(lambda: sys.exit(1))  # on the thread that spins the node, so that it ends cleanly

    def _show_all(self) -> int:
        shown = 0
        first = self._prefetch.take()
        self._await_subscribers()
        due = time.monotonic()
        for frame in itertools.chain([first], iter(self._prefetch.take, None)):
            if frame is None:
                break
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                break
            self._publish(frame)
            shown += 1
            # A late frame does not make the following ones come too fast.
            due = max(due, time.monotonic() - self._period) + self._period
        return shown

    def _await_subscribers(self) -> None:
        while self._image.get_subscription_count() < self.config.await_subscribers:
            if self._stopping.wait(0.05):
                return

    def _publish(self, frame: CameraFrame) -> None:
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self.config.frame_id)
        # Truth first: whoever pairs it with the image should not wait for it.
        if self._truth_info.get_subscription_count():
            self._truth_info.publish(String(data=truth_info(frame, header)))
        if frame.ids is not None and self._truth.get_subscription_count():
            self._truth.publish(to_image(frame.ids, "16UC1", header))
        self._image.publish(to_image(frame.image, "rgb8", header))
        self._info.publish(camera_info(frame, header))
        if frame.depth is not None and self._depth.get_subscription_count():
            self._depth.publish(to_image(frame.depth, "32FC1", header))


def truth_info(frame: CameraFrame, header: Header) -> str:
    """JSON: stamp [s, ns], the frame's index in its source, and its instances (null where nobody knows them)."""
    stamp = [header.stamp.sec, header.stamp.nanosec]
    return json.dumps({"stamp": stamp, "frame": frame.index, "instances": frame.instances})


def camera_info(frame: CameraFrame, header: Header) -> CameraInfo:
    """The pinhole camera of a frame; all zeros, as ROS wants it, where the intrinsics are not known."""
    message = CameraInfo(header=header, height=frame.image.shape[0], width=frame.image.shape[1])
    if frame.intrinsics:
        fx, fy, cx, cy = (float(frame.intrinsics[name]) for name in ("fx", "fy", "cx", "cy"))
        message.distortion_model = "plumb_bob"
        message.d = [0.0] * 5
        message.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
        message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        message.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the executable `camera`."""
    try:
        run_node(CameraNode, arguments)
    except Esam3Error as error:
        sys.exit(f"camera: {error}")


if __name__ == "__main__":
    main()
