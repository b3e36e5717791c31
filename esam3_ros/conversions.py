# SPDX-License-Identifier: Apache-2.0
"""ROS images to RGB arrays and back, without cv_bridge for the usual encodings.

`cv_bridge` breaks with NumPy 2 and copies twice; it is imported only when somebody sends an encoding that is not in
`ENCODINGS`. Payloads are filled through `array.array`, because assigning `bytes` to a `uint8[]` field costs hundreds of
milliseconds where rclpy checks fields (Humble).
"""

from __future__ import annotations

import sys
from array import array
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

Array = NDArray[Any]

ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
"""Encoding -> channels, cv2 conversion to RGB."""

MAX_SIDE = 16384  # pixels: more is a corrupt header, not a camera


class BadImageError(ValueError):
    """An image that cannot be used; the message says why and what to do."""


def image_to_rgb(message: Image) -> Array:
    """The picture of an Image as uint8 RGB [H, W, 3]; a view of the message where it can be, so do not write to it.

    Raises:
        BadImageError: zero or absurd size, `step` or data too short, unknown encoding.
    """
    if message.encoding not in ENCODINGS:
        return _with_cv_bridge(message)
    channels, conversion = ENCODINGS[message.encoding]
    rows = pixels(message, np.dtype(np.uint8), channels)  # [H, W, channels]
    return rows if conversion is None else cv2.cvtColor(rows, conversion)


def pixels(message: Image, dtype: np.dtype[Any], channels: int) -> Array:
    """The payload of an Image as [H, W, channels] (a view), honouring `step` and `is_bigendian`.

    Raises:
        BadImageError: zero or absurd size, `step` or data too short.
    """
    height, width, step = message.height, message.width, message.step
    if not 0 < height <= MAX_SIDE or not 0 < width <= MAX_SIDE:
        raise BadImageError(f"image size {width}x{height} is impossible: check the camera driver")
    row = width * channels * dtype.itemsize
    if step < row:
        raise BadImageError(
            f"step {step} is shorter than a row of {width} {message.encoding} pixels ({row} bytes): "
            "the driver must set step to the bytes of one row"
        )
    data = np.frombuffer(message.data, np.uint8)
    needed = step * (height - 1) + row
    if data.size < needed:
        raise BadImageError(
            f"image data has {data.size} bytes but {width}x{height} {message.encoding} with step {step} needs "
            f"{needed}: the message was truncated or its size is wrong"
        )
    rows = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1), writeable=False)
    if dtype.itemsize > 1:
        ordered = dtype.newbyteorder(">" if message.is_bigendian else "<")
        rows = np.ascontiguousarray(rows).view(ordered).astype(dtype)
    return rows.reshape(height, width, channels) if channels > 1 else rows.reshape(height, width)


def compressed_to_rgb(message: CompressedImage) -> Array:
    """The picture of a CompressedImage (JPEG, PNG, ...) as uint8 RGB [H, W, 3].

    Raises:
        BadImageError: if the data is empty, broken, or holds more than 8 bits a channel.
    """
    data = np.frombuffer(message.data, np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    if picture is None:
        raise BadImageError(
            f"compressed image of {data.size} bytes, format {message.format!r}, cannot be decoded: send JPEG or PNG"
        )
    if picture.dtype != np.uint8:
        raise BadImageError(f"compressed image holds {picture.dtype} pixels: send 8-bit colour or grey")
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    return cv2.cvtColor(picture, {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels])


def to_image(picture: Array, encoding: str, header: Header) -> Image:
    """An Image message of `picture` ([H, W] or [H, W, C], any dtype), with `header` as it is."""
    picture = np.ascontiguousarray(picture)
    message = Image()
    message.header = header
    message.height, message.width = picture.shape[:2]
    message.encoding = encoding
    message.is_bigendian = int(sys.byteorder == "big")
    message.step = int(picture.strides[0])
    message.data = to_payload(picture)
    return message


def to_jpeg(picture: Array, quality: int, header: Header) -> CompressedImage:
    """A JPEG CompressedImage of an RGB picture."""
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise BadImageError(f"a picture of shape {picture.shape} cannot be written as JPEG")
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=to_payload(jpeg))


def to_payload(values: Array) -> array[int]:
    """Bytes of an array, in the type that `uint8[]` fields take without a copy per element."""
    payload = array("B")
    payload.frombytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return payload


def seconds(stamp: Any) -> float:
    """A builtin_interfaces/Time in seconds."""
    return float(stamp.sec + stamp.nanosec * 1e-9)


def _with_cv_bridge(message: Image) -> Array:
    """Convert an unusual encoding with cv_bridge.

    Raises:
        BadImageError: without cv_bridge, or when it cannot convert either.
    """
    known = ", ".join(ENCODINGS)
    if not 0 < message.height <= MAX_SIDE or not 0 < message.width <= MAX_SIDE:
        raise BadImageError(f"image size {message.width}x{message.height} is impossible: check the camera driver")
    try:
        from cv_bridge import CvBridge  # type: ignore[import-not-found]
    except ImportError as error:
        raise BadImageError(
            f"encoding {message.encoding!r} is not one of {known}: let the driver send one of these, "
            "or install cv_bridge"
        ) from error
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(message, "rgb8"))
    except Exception as error:  # cv_bridge raises its own, cv2's and Boost's errors
        raise BadImageError(
            f"cv_bridge cannot convert {message.encoding!r} to rgb8 ({error}): send one of {known}"
        ) from error
