# SPDX-License-Identifier: Apache-2.0
"""Quality of service: image subscriptions that match whatever the camera offers, and what to say when none comes."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from copy import copy
from typing import Any

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPolicyKind,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

RESULT = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    history=HistoryPolicy.KEEP_LAST,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
DIAGNOSTICS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
FOREVER = 3.0  # s without a frame before it is reported
RELIABILITIES = ("auto", "best_effort", "reliable")
TRANSPORTS = {"raw": Image, "compressed": CompressedImage}
IMAGE_TYPES = {"sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"}


def overridable(profile: QoSProfile) -> dict[str, Any]:
    """Arguments of a publisher whose history, depth and reliability `qos_overrides.*` parameters may change."""
    # rclpy writes the overrides into the profile: whoever shared it with others would change theirs.
    return {"qos_profile": copy(profile), "qos_overriding_options": QoSOverridingOptions.with_default_policies()}


class ImageSubscription:
    """A subscription to an image topic whose reliability follows the publishers'.

    A best-effort subscription matches every publisher but loses parts of large images; a reliable one loses nothing but
    matches only reliable publishers. "auto" starts with best effort and changes over once all publishers are reliable.
    `check` must be called about once a second: publishers come and go, and Humble has no matched events.
    """

    def __init__(
        self,
        node: Node,
        transport: str,
        reliability: str,
        depth: int,
        callback: Callable[[Any], None],
        on_incompatible: Callable[[str], None],
    ) -> None:
        self._node = node
        self._type = TRANSPORTS[transport]
        self._name = "image" if transport == "raw" else "image/compressed"
        self._wanted = reliability
        self._depth = depth
        self._callback = callback
        self._on_incompatible = on_incompatible
        self.topic = node.resolve_topic_name(self._name)
        self.reliability = self._choose()
        self._subscription = self._subscribe()

    def check(self) -> bool:
        """Follow the publishers; True if the reliability changed."""
        chosen = self._choose()
        if chosen == self.reliability:
            return False
        self._node.destroy_subscription(self._subscription)
        self.reliability = chosen
        self._subscription = self._subscribe()
        return True

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def publishers(self) -> list[str]:
        """What each publisher of the topic offers, in words."""
        return [
            f"{info.node_namespace.rstrip('/')}/{info.node_name} ({info.qos_profile.reliability.name.lower()}"
            + ("" if self._matches(info) else f", type {info.topic_type}")
            + ")"
            for info in self._node.get_publishers_info_by_topic(self.topic)
        ]

    def why_silent(self) -> str:
        """What is known about a topic on which no frame arrives, and what to do."""
        found = self.publishers()
        infos = self._node.get_publishers_info_by_topic(self.topic)
        if not found:
            similar = similar_topics(self._node, self.topic)
            hint = f"similar image topics: {', '.join(similar)}" if similar else "no other image topic exists"
            return f"no frame on {self.topic}: it has no publisher; {hint}. Start the camera or set image:=<topic>"
        listed = f"no frame on {self.topic} although it has {len(found)} publisher(s): {', '.join(found)}"
        if not any(self._matches(info) for info in infos):
            return f"{listed}. The type differs: set image_transport to match, raw or compressed"
        if self.reliability == "reliable" and any(_reliability(info) == "best_effort" for info in infos):
            return f"{listed}. This node asks for reliable: set image_reliability:=auto"
        if self.reliability == "best_effort":
            return f"{listed}. Is the camera running? Large best-effort images need config/fastdds_shm.xml"
        return f"{listed}. Is the camera running?"

    def _matches(self, info: Any) -> bool:
        return bool(info.topic_type == f"sensor_msgs/msg/{self._type.__name__}")

    def _choose(self) -> str:
        if self._wanted != "auto":
            return self._wanted
        infos = [info for info in self._node.get_publishers_info_by_topic(self.topic) if self._matches(info)]
        reliable = bool(infos) and all(_reliability(info) == "reliable" for info in infos)
        return "reliable" if reliable else "best_effort"

    def _subscribe(self) -> Subscription:
        profile = QoSProfile(
            depth=self._depth,
            history=HistoryPolicy.KEEP_LAST,
            reliability=ReliabilityPolicy[self.reliability.upper()],
        )
        # Reliability is not overridable here: image_reliability decides, and the override would freeze "auto".
        overrides = QoSOverridingOptions((QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH))
        return self._node.create_subscription(
            self._type,
            self._name,
            self._callback,
            profile,
            event_callbacks=SubscriptionEventCallbacks(incompatible_qos=self._incompatible),
            qos_overriding_options=overrides,
        )

    def _incompatible(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        offered = ", ".join(self.publishers()) or "a publisher"
        self._on_incompatible(
            f"{self.topic}: {offered} does not match the {self.reliability} subscription ({policy}): "
            "set image_reliability:=auto"
        )


def similar_topics(node: Node, topic: str, limit: int = 3) -> list[str]:
    """Image topics with a publisher whose names come closest to `topic`, best first."""
    namespace = node.get_namespace().rstrip("/")
    ours = (f"{namespace}/{node.get_name()}/", f"{namespace}/overlay/")  # results, not cameras
    names = [
        name
        for name, types in node.get_topic_names_and_types()
        if name != topic and not name.startswith(ours) and IMAGE_TYPES & set(types) and node.count_publishers(name)
    ]
    return sorted(names, key=lambda name: -difflib.SequenceMatcher(None, name, topic).ratio())[:limit]


def _reliability(info: Any) -> str:
    return str(info.qos_profile.reliability.name.lower())
