# SPDX-License-Identifier: Apache-2.0
"""Picture files as arrays; masks in indexed PNGs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.preprocess import Image


def read_picture(path: Path) -> Image:
    """A picture file as uint8 RGB [H, W, 3].

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: fetch the data set's pictures, or name their folder")
    return decode_picture(path.read_bytes(), path)


def decode_picture(data: bytes, name: object) -> Image:
    """An encoded picture as uint8 RGB [H, W, 3]; ValueError if it is damaged."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ValueError(f"the picture {name} ({len(data)} bytes) is damaged: fetch it again")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def read_indices(path: Path) -> NDArray[np.uint8]:
    """An indexed (palette) or grey PNG as its numbers, uint8 [H, W]: 0 is background, others are objects.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is damaged, or a picture in colours.
    """
    from PIL import Image as Pillow  # OpenCV gives the palette's colours, not its numbers
    from PIL import UnidentifiedImageError

    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: fetch the data set's annotations again")
    try:
        with Pillow.open(path) as picture:
            if picture.mode not in ("P", "L", "1"):
                raise ValueError(f"{path} is a picture in colours ({picture.mode}), not one of object numbers")
            return np.asarray(picture, np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} is damaged ({error}): fetch it again") from error


def write_indices(path: Path, numbers: NDArray[np.uint8]) -> None:
    """Write object numbers uint8 [H, W] as an indexed PNG with the colours DAVIS uses."""
    from PIL import Image as Pillow

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Pillow.frombytes("P", numbers.shape[::-1], np.ascontiguousarray(numbers, np.uint8).tobytes())
    picture.putpalette([channel for number in range(256) for channel in _colour(number)])
    picture.save(path)


def _colour(number: int) -> tuple[int, int, int]:
    """PASCAL VOC's colour of an object number: its bits spread over the three channels."""
    red = green = blue = 0
    for bit in range(8):
        red |= (number & 1) << (7 - bit)
        green |= (number >> 1 & 1) << (7 - bit)
        blue |= (number >> 2 & 1) << (7 - bit)
        number >>= 3
    return red, green, blue
