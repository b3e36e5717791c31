# SPDX-License-Identifier: Apache-2.0
"""Frames that gates and measurements run on, the same at every call: a source of the user's, or our own pictures.

The pictures in `pictures/` are rendered scenes (`World(11, 12, 13)` of `demo_config(960, 720, 5)`, the fourth frame).
A view that wanders over them gives as many frames as are wanted, with nothing to download or install. Within the frames
of the gate `loop` it stays on one picture: what a memory makes of a cut to another scene hangs on digits that no two
computers share, and a camera makes no cuts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.sources import open_source

PICTURES = Path(__file__).resolve().parent / "pictures"
CONCEPTS = ("cup", "mug")  # what the pictures show
VIEW = (480, 640)  # H, W
RATE = 15.0  # frames per second
PER_ROUND = 60  # frames after which the view is where it began
PER_PICTURE = 120  # frames before the view changes to the next picture


def frames(source: str | None, count: int) -> Iterator[tuple[float, Image]]:
    """Stamp in s and RGB image of up to `count` frames.

    Args:
        source: video, folder, bag or webcam as for `esam3 track`; None for our own pictures.

    Raises:
        SourceError: the source cannot be read.
    """
    if source is None:
        yield from islice(wander(), count)
        return
    for _, stamp, image in islice(open_source(source), count):
        yield stamp, image


def wander() -> Iterator[tuple[float, Image]]:
    """An endless clip: a view that moves and zooms over one picture after the other."""
    pictures = [_read(path) for path in sorted(PICTURES.glob("*.jpg"))]
    index = 0
    while True:
        picture = pictures[index // PER_PICTURE % len(pictures)]
        yield index / RATE, view(picture, index % PER_ROUND / PER_ROUND)
        index += 1


def _read(path: Path) -> Image:
    picture = cv2.imread(str(path))
    assert picture is not None, path  # it comes with the package
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def view(picture: Image, phase: float) -> Image:
    """The part of a picture that is seen at `phase` 0..1 of a closed path, at the size of VIEW."""
    height, width = picture.shape[:2]
    turn = 2 * math.pi * phase
    scale = 0.8 + 0.12 * math.cos(turn)  # share of the picture's sides
    x = (0.5 + 0.35 * math.sin(turn)) * (1 - scale) * width
    y = (0.5 + 0.35 * math.sin(2 * turn)) * (1 - scale) * height
    zoom = VIEW[1] / (scale * width)
    matrix = np.array([[zoom, 0, -zoom * x], [0, zoom, -zoom * y]], np.float32)
    return np.asarray(cv2.warpAffine(picture, matrix, (VIEW[1], VIEW[0]), flags=cv2.INTER_LINEAR), np.uint8)
