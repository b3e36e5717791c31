# SPDX-License-Identifier: Apache-2.0
"""Frames of a rosbag2 (MCAP or sqlite) or a ROS 1 bag, read without ROS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from esam3_core.runtime.errors import SourceError
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.sources import RATE, Frame

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
"""Encoding -> channels, OpenCV's conversion to RGB."""


class BagSource:
    """The images of one topic; stamps are those of the message headers, in seconds."""

    def __init__(self, path: Path, topic: str | None) -> None:
        """Open the bag and choose its topic; `path` is its folder or the file in it.

        Raises:
            SourceError: the bag is unreadable or holds no such image topic; the message lists those it holds.
        """
        self._path = path
        with self._open() as reader:
            connection = _choose(reader, path, topic)
            self.topic: str = connection.topic
            count = _count(reader, self.topic)
            seconds = reader.duration * 1e-9
            self.length: int | None = count
            self.rate = (count - 1) / seconds if count > 1 and seconds > 0 else RATE

    def __iter__(self) -> Iterator[Frame]:
        with self._open() as reader:
            connections = [one for one in reader.connections if one.topic == self.topic]
            for index, (connection, received, raw) in enumerate(reader.messages(connections)):
                message: Any = reader.deserialize(raw, connection.msgtype)
                stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
                try:
                    image = message_to_rgb(message)
                except ValueError as error:
                    raise SourceError(f"{self._path}, message {index} of {self.topic}: {error}") from error
                yield index, stamp or received * 1e-9, image

    def _open(self) -> AnyReader:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore

        folder = self._path if self._path.is_dir() or self._path.suffix == ".bag" else self._path.parent
        try:
            # Bags of Humble and older carry no message definitions; those of images never changed since.
            reader = AnyReader([folder], default_typestore=get_typestore(Stores.ROS2_HUMBLE))
            reader.open()
            reader.close()
        except Exception as error:  # rosbags and its storage plugins raise many unrelated classes
            raise SourceError(
                f"{self._path} is not a readable bag ({error}): give its folder with metadata.yaml; "
                "`ros2 bag reindex` repairs a recording that was cut off"
            ) from error
        return reader


def message_to_rgb(message: Any) -> Image:
    """The picture of an Image or CompressedImage message as uint8 RGB [H, W, 3].

    Raises:
        ValueError: its encoding is not supported, or its data is too short or broken.
    """
    data = np.frombuffer(message.data, np.uint8)
    if not hasattr(message, "encoding"):
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
        if picture is None:
            raise ValueError(f"{data.size} bytes of {message.format!r} are no image: record JPEG or PNG")
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    if message.encoding not in ENCODINGS:
        raise ValueError(f"the encoding is {message.encoding!r}: record one of {', '.join(ENCODINGS)}")
    channels, conversion = ENCODINGS[message.encoding]
    row = message.width * channels
    if not row or not message.height or message.step < row or data.size < message.step * message.height:
        raise ValueError(
            f"{data.size} bytes with step {message.step} are no image of {message.width} x {message.height} "
            f"{message.encoding} pixels: the recording is broken there"
        )
    rows = data[: message.step * message.height].reshape(message.height, message.step)[:, :row]
    picture = np.ascontiguousarray(rows).reshape(message.height, message.width, channels)
    return picture if conversion is None else np.asarray(cv2.cvtColor(picture, conversion), np.uint8)


def _choose(reader: AnyReader, path: Path, topic: str | None) -> Connection:
    images = [one for one in reader.connections if one.msgtype.split("/")[-1] in ("Image", "CompressedImage")]
    images = [one for one in images if _count(reader, one.topic)]
    names = ", ".join(sorted({one.topic for one in images})) or "none"
    if not images:
        raise SourceError(f"{path} holds no image: record a camera topic")
    if topic is None:
        return images[0]
    for one in images:
        if one.topic == topic:
            return one
    raise SourceError(f"{path} holds no images of topic {topic}: its image topics are {names}")


def _count(reader: AnyReader, topic: str) -> int:
    return sum(one.msgcount for one in reader.connections if one.topic == topic)
