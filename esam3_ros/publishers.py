# SPDX-License-Identifier: Apache-2.0
"""What the tracker node publishes, always with the header of the image it came from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image, RegionOfInterest
from std_msgs.msg import Header

from esam3_core.runtime import Track
from esam3_ros import masks
from esam3_ros.conversions import Array, seconds, to_image
from esam3_ros.msg import ConceptSet, TrackArray
from esam3_ros.msg import Track as TrackMessage
from esam3_ros.qos import LATCHED, RESULT, overridable

STATES = {"new": TrackMessage.NEW, "tracked": TrackMessage.TRACKED, "occluded": TrackMessage.OCCLUDED}
REMEMBERED = 64  # frames whose exact stamps are kept at least, for tracks that are not confirmed yet
MARGIN = 5.0  # s for which they are kept beyond what a track may look back
MOST = 20_000  # frames whose exact stamps are kept at most, for whoever sets keep_alive to a day


class Stamps:
    """Exact image stamps by their value in seconds, for as long as a track refers to them."""

    def __init__(self) -> None:
        self._known: dict[float, Time] = {}  # the newest last
        self._full = 2 * REMEMBERED

    def add(self, stamp: Time) -> None:
        value = seconds(stamp)
        self._known.pop(value, None)  # a bag that loops: it is the newest again
        self._known[value] = stamp

    def find(self, value: float) -> Time:
        """The stamp that `value` came from; rounded to what a float holds if it was not added."""
        if value in self._known:
            return self._known[value]
        nanoseconds = round(max(value, 0.0) * 1e9)
        return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)

    def keep(self, values: Iterable[float], age: float) -> None:
        """Drop all but those in `values`, those of the last `age` seconds and a margin, and some frames."""
        if len(self._known) < self._full:
            return  # not every time, because it looks at all of them
        newest_last = list(self._known)[-MOST:]
        newest = newest_last[-1]
        wanted = {*values, *newest_last[-REMEMBERED:]}
        wanted |= {value for value in newest_last if 0 <= newest - value <= age + MARGIN}
        self._known = {value: stamp for value, stamp in self._known.items() if value in wanted}
        self._full = 2 * max(REMEMBERED, len(self._known))


class TrackPublishers:
    """The publishers of the tracker node; those that cost something work only while somebody subscribes."""

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._stamps = Stamps()
        self._tracks = self._create(TrackArray, "~/tracks", RESULT)
        self._concepts = node.create_publisher(ConceptSet, "~/concepts", **overridable(LATCHED))  # also while inactive
        self._labels = self._create(Image, "~/label_image", RESULT)
        self._vision = None
        with contextlib.suppress(ImportError):  # vision_msgs is optional
            from esam3_ros.vision import VisionPublishers

            self._vision = VisionPublishers(node)

    def publish(
        self, header: Header, size: Sequence[int], tracks: Sequence[Track], version: int, look_back: float
    ) -> None:
        """Publish the tracks of one frame of `size` (H, W).

        `look_back`: s before its frame at which a track may turn out to have been seen last (`keep_alive`).
        """
        self._stamps.add(header.stamp)
        self._tracks.publish(track_array(header, size, tracks, version, self._stamps))
        if self._labels.get_subscription_count():
            self._labels.publish(to_image(label_image(tracks, size), "16UC1", header))
        if self._vision is not None:
            self._vision.publish(header, tracks)
        self._stamps.keep((value for track in tracks for value in (track.first_seen, track.last_seen)), look_back)

    def publish_concepts(self, version: int, concepts: Sequence[str]) -> None:
        """Tell everybody, late comers too, what is searched."""
        self._concepts.publish(ConceptSet(version=version, concepts=list(concepts)))

    def destroy(self) -> None:
        """Take all publishers down."""
        for publisher in (self._tracks, self._labels):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._concepts)
        if self._vision is not None:
            self._vision.destroy()

    def _create(self, message: type, topic: str, profile: QoSProfile) -> LifecyclePublisher:
        return self._node.create_lifecycle_publisher(message, topic, **overridable(profile))


def track_array(
    header: Header, size: Sequence[int], tracks: Sequence[Track], version: int, stamps: Stamps
) -> TrackArray:
    """The TrackArray of one frame of `size` (H, W)."""
    message = TrackArray(header=header, height=size[0], width=size[1], concept_version=version)
    message.tracks = [_track(track, size, stamps) for track in sorted(tracks, key=lambda track: track.id)]
    return message


def label_image(tracks: Sequence[Track], size: Sequence[int]) -> Array:
    """Track ids as uint16 [H, W], 0 = background; where tracks overlap, the one of higher score wins."""
    labels = np.zeros(tuple(size), np.uint16)
    for track in sorted(tracks, key=lambda track: track.score):
        x, y, width, height = track.crop.roi
        labels[y : y + height, x : x + width][track.crop.bits] = track.id
    return labels


def _track(track: Track, size: Sequence[int], stamps: Stamps) -> TrackMessage:
    message = TrackMessage(
        id=track.id,
        concept=track.concept,
        score=float(track.score),
        state=STATES[track.state],
        first_seen=stamps.find(track.first_seen),
        last_seen=stamps.find(track.last_seen),
        mask=masks.pack(track.crop),
    )
    if track.state == "occluded":
        message.mask.roi = _roi(track.box, size)
    return message


def _roi(box: tuple[float, float, float, float], size: Sequence[int]) -> RegionOfInterest:
    left, top = (min(max(round(value), 0), limit) for value, limit in zip(box[:2], (size[1], size[0]), strict=True))
    right, bottom = round(box[0] + box[2]), round(box[1] + box[3])
    return RegionOfInterest(
        x_offset=left,
        y_offset=top,
        width=max(0, min(right, size[1]) - left),
        height=max(0, min(bottom, size[0]) - top),
    )
