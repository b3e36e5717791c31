# SPDX-License-Identifier: Apache-2.0
"""Images to arrays and back: every encoding of the fast path, row padding, byte order."""

from __future__ import annotations

import sys
from array import array

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from esam3_ros.conversions import (
    ENCODINGS,
    BadImageError,
    compressed_to_rgb,
    image_to_rgb,
    pixels,
    to_image,
    to_jpeg,
    to_payload,
)

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
FROM_RGB = {
    "rgb8": None,
    "bgr8": cv2.COLOR_RGB2BGR,
    "rgba8": cv2.COLOR_RGB2RGBA,
    "bgra8": cv2.COLOR_RGB2BGRA,
    "mono8": cv2.COLOR_RGB2GRAY,
}


def padded(picture: np.ndarray, encoding: str, padding: int) -> Image:
    """A message whose rows end in `padding` bytes that mean nothing."""
    message = to_image(picture, encoding, Header())
    rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
    junk = np.full((message.height, padding), 255, np.uint8)
    message.data = to_payload(np.hstack([rows, junk]))
    message.step += padding
    return message


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", [0, 1, 9])
def test_every_encoding_becomes_rgb_whatever_the_padding(encoding, padding):
    sent = RGB if FROM_RGB[encoding] is None else cv2.cvtColor(RGB, FROM_RGB[encoding])
    expected = np.repeat(sent[..., None], 3, axis=2) if encoding == "mono8" else RGB
    assert np.array_equal(image_to_rgb(padded(sent, encoding, padding)), expected)


def test_rgb8_is_a_view_and_not_a_copy():
    message = to_image(RGB, "rgb8", Header())
    assert np.shares_memory(image_to_rgb(message), np.frombuffer(message.data, np.uint8))


def test_the_last_row_needs_no_padding():
    message = padded(RGB, "rgb8", 4)
    message.data = message.data[:-4]
    assert np.array_equal(image_to_rgb(message), RGB)


@pytest.mark.parametrize("big", [False, True])
def test_16_bit_pixels_honour_is_bigendian(big):
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4) * 300
    message = to_image(labels.astype(">u2" if big else "<u2"), "16UC1", Header())
    message.is_bigendian = int(big)
    assert np.array_equal(pixels(message, np.dtype(np.uint16), 1), labels)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([np.uint8, np.uint16, np.float32]))
def test_what_is_sent_comes_back(height, width, dtype):
    picture = np.random.default_rng(height * 41 + width).integers(0, 200, (height, width)).astype(dtype)
    message = to_image(picture, "any", Header(frame_id="f"))
    assert message.step == width * picture.itemsize and message.header.frame_id == "f"
    assert message.is_bigendian == (sys.byteorder == "big")
    assert np.array_equal(pixels(message, np.dtype(dtype), 1), picture)


def test_a_slice_of_an_image_is_sent_as_it_looks():
    assert np.array_equal(image_to_rgb(to_image(RGB[1:4, ::2], "rgb8", Header())), RGB[1:4, ::2])


def test_payloads_are_arrays_because_other_types_are_slow_where_fields_are_checked():
    payload = to_payload(RGB)
    assert isinstance(payload, array) and payload.typecode == "B" and bytes(payload) == RGB.tobytes()
    assert not to_payload(np.zeros((0, 3), np.uint16))


def test_jpeg_and_png_of_colour_and_grey_are_decoded():
    smooth = cv2.resize(RGB, (64, 48), interpolation=cv2.INTER_CUBIC)
    jpeg = compressed_to_rgb(to_jpeg(smooth, 95, Header()))
    assert np.abs(jpeg.astype(int) - smooth).mean() < 8
    for picture in (cv2.cvtColor(smooth, cv2.COLOR_RGB2BGR), cv2.cvtColor(smooth, cv2.COLOR_RGB2BGRA), smooth[..., 0]):
        message = CompressedImage(format="png", data=to_payload(cv2.imencode(".png", picture)[1]))
        assert compressed_to_rgb(message).shape == (48, 64, 3)


def test_a_compressed_16_bit_image_is_refused():
    data = to_payload(cv2.imencode(".png", np.zeros((4, 4), np.uint16))[1])
    with pytest.raises(BadImageError, match="8-bit"):
        compressed_to_rgb(CompressedImage(format="png", data=data))


def test_other_encodings_are_converted_by_cv_bridge_where_it_is(monkeypatch):
    class CvBridge:
        def imgmsg_to_cv2(self, message, encoding):
            assert encoding == "rgb8"
            return RGB

    module = type(sys)("cv_bridge")
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    assert np.array_equal(image_to_rgb(Image(encoding="yuv422_yuy2", height=5, width=7)), RGB)
