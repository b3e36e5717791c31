# SPDX-License-Identifier: Apache-2.0
"""Small rosbag2 recordings, written without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

TOPIC = "/camera/color/image_raw"


def write_bag(
    folder: Path,
    frames: Sequence[np.ndarray],
    storage: str = "mcap",
    encoding: str = "rgb8",
    padding: int = 0,
    stamps: bool = True,
    topics: Sequence[str] = (TOPIC,),
    compressed: str = "",
) -> Path:
    """A rosbag2 with RGB `frames` on every topic, 15 frames/s from second 5 on, and a topic that is no image.

    `padding` bytes follow each row; without `stamps` the headers carry 0; `compressed` is a suffix such as ".jpg".
    """
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    types = get_typestore(Stores.ROS2_HUMBLE)
    time_type, header_type, image_type, jpeg_type, text_type = (
        types.types[name]
        for name in (
            "builtin_interfaces/msg/Time",
            "std_msgs/msg/Header",
            "sensor_msgs/msg/Image",
            "sensor_msgs/msg/CompressedImage",
            "std_msgs/msg/String",
        )
    )
    conversions = {"bgr8": cv2.COLOR_RGB2BGR, "rgba8": cv2.COLOR_RGB2RGBA, "bgra8": cv2.COLOR_RGB2BGRA}
    conversions["mono8"] = cv2.COLOR_RGB2GRAY

    def message(frame: np.ndarray, nanoseconds: int) -> Any:
        seconds, rest = divmod(nanoseconds if stamps else 0, 10**9)
        header = header_type(time_type(seconds, rest), "camera")
        if compressed:
            data = cv2.imencode(compressed, cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1].reshape(-1)
            return jpeg_type(header, compressed, data)
        pixels = cv2.cvtColor(frame, conversions[encoding]) if encoding in conversions else frame
        rows = pixels.reshape(len(frame), -1)
        rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
        return image_type(header, *frame.shape[:2], encoding, 0, rows.shape[1], rows.reshape(-1))

    with Writer(folder, version=9, storage_plugin=StoragePlugin[storage.upper()]) as bag:
        kind = jpeg_type if compressed else image_type
        speech = bag.add_connection("/speech", text_type.__msgtype__, typestore=types)
        connections = [bag.add_connection(topic, kind.__msgtype__, typestore=types) for topic in topics]
        for index, frame in enumerate(frames):
            nanoseconds = 5 * 10**9 + index * 10**9 // 15
            bag.write(speech, nanoseconds, types.serialize_cdr(text_type("hello"), text_type.__msgtype__))
            for connection in connections:
                raw = types.serialize_cdr(message(frame, nanoseconds), kind.__msgtype__)
                bag.write(connection, nanoseconds, raw)
    return folder
