# SPDX-License-Identifier: Apache-2.0
"""The same tracks as vision_msgs, for tools that read these. Importing this needs vision_msgs."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header
from vision_msgs.msg import (  # type: ignore[import-not-found]
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)

from esam3_core.runtime import Track
from esam3_ros.qos import LATCHED, RESULT, overridable


class VisionPublishers:
    """`~/detections`, and `~/label_info` that names the ids in `~/label_image`."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._detections = node.create_lifecycle_publisher(Detection2DArray, "~/detections", **overridable(RESULT))
        self._labels = node.create_lifecycle_publisher(LabelInfo, "~/label_info", **overridable(LATCHED))
        self._named: dict[int, str] = {}

    def publish(self, header: Header, tracks: Sequence[Track]) -> None:
        """Publish visible tracks as detections if somebody listens, and the names of the ids if they changed."""
        if self._detections.get_subscription_count():
            visible = [_detection(header, track) for track in tracks if track.state != "occluded"]
            self._detections.publish(Detection2DArray(header=header, detections=visible))
        names = {track.id: track.concept for track in tracks}
        if names != self._named:
            self._named = names
            classes = [VisionClass(class_id=number, class_name=name) for number, name in names.items()]
            self._labels.publish(LabelInfo(header=header, class_map=classes))

    def destroy(self) -> None:
        """Take both publishers down."""
        for publisher in (self._detections, self._labels):
            self._node.destroy_lifecycle_publisher(publisher)


def _detection(header: Header, track: Track) -> Detection2D:
    detection = Detection2D(header=header, id=str(track.id))
    x, y, width, height = track.box
    detection.bbox.center.position.x = float(x + width / 2)
    detection.bbox.center.position.y = float(y + height / 2)
    detection.bbox.size_x, detection.bbox.size_y = float(width), float(height)
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = track.concept
    result.hypothesis.score = float(track.score)
    detection.results = [result]
    return detection
