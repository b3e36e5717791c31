# SPDX-License-Identifier: Apache-2.0
"""The overlay node: draws tracks on the image they came from.

It is a process of its own, so that drawing costs the tracker nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

from esam3_core.config import OverlayConfig
from esam3_core.runtime.overlay import draw
from esam3_ros.complaints import Complaints
from esam3_ros.conversions import compressed_to_rgb, image_to_rgb, to_image, to_jpeg
from esam3_ros.msg import TrackArray
from esam3_ros.pairing import Pairing, stamp_of
from esam3_ros.parameters import Parameters
from esam3_ros.qos import RESULT, ImageSubscription, overridable
from esam3_ros.run import run_node
from esam3_ros.specs import OVERLAY
from esam3_ros.track_messages import read_tracks

WATCH_PERIOD = 0.5  # s between looks at who subscribes to the picture
QUEUE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
IMAGE, TRACKS = "image", "tracks"


class OverlayNode(Node):
    """Subscribes to `image` and `tracks` while somebody subscribes to `~/image` or `~/image/compressed`."""

    def __init__(self, **options: Any) -> None:
        super().__init__("overlay", **options)
        self.parameters = Parameters(self, OVERLAY)
        for problem in self.parameters.problems.values():
            self.get_logger().error(f"{problem}; the default is used")
        self.config = self.parameters.config(OverlayConfig)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._complaints = Complaints(self.get_logger())
        self._pairing = Pairing((IMAGE, TRACKS), self.config.history)
        self._image: ImageSubscription | None = None
        self._tracks: Subscription | None = None
        self._picture = self.create_publisher(Image, "~/image", **overridable(RESULT))
        self._jpeg = self.create_publisher(CompressedImage, "~/image/compressed", **overridable(RESULT))
        self.create_timer(WATCH_PERIOD, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def listening(self) -> bool:
        """Whether anybody wants the picture, so that the inputs are subscribed to."""
        return self._image is not None

    def _watch(self) -> None:
        wanted = bool(self._picture.get_subscription_count() or self._jpeg.get_subscription_count())
        if wanted and self._image is None:
            self._image = ImageSubscription(
                self,
                self.config.image_transport,
                self.config.image_reliability,
                QUEUE.depth,
                lambda message: self._add(IMAGE, message),
                self._complaints.error,
            )
            self._tracks = self.create_subscription(
                TrackArray, "tracks", lambda message: self._add(TRACKS, message), QUEUE
            )
        elif not wanted and self._image is not None and self._tracks is not None:
            self._image.destroy()
            self.destroy_subscription(self._tracks)
            self._image = self._tracks = None
            self._pairing.clear()
        elif self._image is not None:
            self._image.check()

    def _add(self, kind: str, message: Any) -> None:
        pair = self._pairing.add(kind, stamp_of(message), message)
        if pair is None:
            return
        try:
            self._draw(pair[IMAGE], pair[TRACKS])
        except ValueError as error:  # a broken image or mask: the next one may be good
            self._complaints.error(str(error))

    def _draw(self, image: Image | CompressedImage, tracks: TrackArray) -> None:
        rgb = compressed_to_rgb(image) if isinstance(image, CompressedImage) else image_to_rgb(image)
        picture = draw(rgb, read_tracks(tracks))
        if self._picture.get_subscription_count():
            self._picture.publish(to_image(picture, "rgb8", image.header))
        if self._jpeg.get_subscription_count():
            self._jpeg.publish(to_jpeg(picture, self.config.jpeg_quality, image.header))

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            if reason := self.parameters.refusal(parameter, configured=True):
                return SetParametersResult(successful=False, reason=reason)
        changes = {parameter.name: parameter.value for parameter in parameters}
        self.config = self.parameters.config(OverlayConfig, **changes)
        return SetParametersResult(successful=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the executable `overlay`."""
    run_node(OverlayNode, arguments)


if __name__ == "__main__":
    main()
