# SPDX-License-Identifier: Apache-2.0
"""Gathers what the nodes publish about each frame: picture, tracks and truth of one stamp."""

from __future__ import annotations

import json
import queue
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import String

from esam3_core.runtime import Track
from esam3_ros.conversions import Array, image_to_rgb, pixels, seconds
from esam3_ros.demo_nodes import PICTURE, TRACKS, TRUTH, TRUTH_INFO
from esam3_ros.msg import TrackArray
from esam3_ros.pairing import Pairing, stamp_of
from esam3_ros.qos import DIAGNOSTICS
from esam3_ros.spinner import Spinner
from esam3_ros.track_messages import read_tracks

QUEUE = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST)
HISTORY = 200  # frames that wait for their partners
FATAL = ("tracker: model", "tracker: inference")  # parts of the tracker without which no frame will come


@dataclass(frozen=True)
class Shot:
    """Everything about one processed frame."""

    stamp: float  # s
    age: float  # s from the image's stamp to the arrival of its tracks here
    frame: int  # index in the source
    picture: Array  # overlay, uint8 RGB [H, W, 3]
    tracks: list[Track]
    version: int  # of the concepts
    ids: Array | None  # truth, uint16 [H, W]
    instances: list[dict[str, Any]] | None  # truth


class Collector:
    """Listens on a thread of its own, in a `with` block.

    `shots` is the queue of complete frames; `heard` is when anything came last (monotonic clock, s); `problem` is why
    the tracker will send none, empty while it may.
    """

    def __init__(self, with_truth: bool) -> None:
        """`with_truth`: wait for the label image of the truth too."""
        self.shots: queue.Queue[Shot] = queue.Queue()
        self.heard = time.monotonic()
        self.problem = ""
        self._with_truth = with_truth
        kinds = ("picture", "tracks", "info", *(["truth"] if with_truth else []))
        self._pairing = Pairing(kinds, HISTORY)
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        self._node = Node("esam3_demo", context=self._context)
        self._subscribe(Image, PICTURE, "picture")
        self._subscribe(TrackArray, TRACKS, "tracks")
        self._node.create_subscription(String, TRUTH_INFO, self._on_info, QUEUE)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, DIAGNOSTICS)
        if with_truth:
            self._subscribe(Image, TRUTH, "truth")
        self._spinner = Spinner(self._node)

    def __enter__(self) -> Collector:
        return self

    def __exit__(self, *_: object) -> None:
        self._spinner.stop()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _subscribe(self, kind: type, topic: str, name: str) -> None:
        self._node.create_subscription(kind, topic, lambda message: self._add(name, stamp_of(message), message), QUEUE)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.level == DiagnosticStatus.ERROR and status.name.endswith(FATAL):
                self.problem = status.message

    def _on_info(self, message: String) -> None:
        info = json.loads(message.data)
        self._add("info", (info["stamp"][0], info["stamp"][1]), info)

    def _add(self, name: str, stamp: tuple[int, int], message: Any) -> None:
        self.heard = time.monotonic()
        if name == "tracks":
            now = self._node.get_clock().now().nanoseconds * 1e-9
            message = (message, now - seconds(message.header.stamp))
        complete = self._pairing.add(name, stamp, message)
        if complete is not None:
            self.shots.put(self._shot(complete))

    def _shot(self, complete: dict[str, Any]) -> Shot:
        message, age = complete["tracks"]
        info = complete["info"]
        truth = pixels(complete["truth"], np.dtype(np.uint16), 1) if self._with_truth else None
        return Shot(
            stamp=seconds(message.header.stamp),
            age=age,
            frame=info["frame"],
            picture=image_to_rgb(complete["picture"]),
            tracks=read_tracks(message),
            version=message.concept_version,
            ids=truth,
            instances=info["instances"],
        )
