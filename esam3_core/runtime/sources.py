# SPDX-License-Identifier: Apache-2.0
"""Frames from a video file, images, a webcam or a bag, all behind one iterator."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from esam3_core.runtime.errors import SourceError
from esam3_core.runtime.preprocess import Image

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
RATE = 30.0  # frames/s of images that carry no time, and of videos and cameras that do not say
Frame = tuple[int, float, Image]
"""Index from 0, stamp in seconds, uint8 RGB [H, W, 3]."""

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Something that gives frames, in order. Iterating opens it, and starts at its beginning."""

    rate: float  # frames/s
    length: int | None  # frames; None where it is not known

    def __iter__(self) -> Iterator[Frame]: ...


def open_source(spec: str | Path, topic: str | None = None) -> Source:
    """The source that `spec` names.

    Args:
        spec: a video file, an image, a folder of images (in natural order, 30 frames/s), the number of a webcam, or
            a rosbag2 (its folder, or the .mcap or .db3 file in it).
        topic: of a bag, the image topic; its first one if None.

    Raises:
        SourceError: it is missing or of no known kind, or a topic is given to something that is no bag.
    """
    text = str(spec).strip()
    path = Path(text).expanduser()
    if _is_bag(path):
        from esam3_core.runtime.bag import BagSource

        return BagSource(path, topic)
    if topic is not None:
        raise SourceError(f"{text} is not a bag, so it has no topic {topic}: leave the topic out")
    if text.isdigit():
        return CameraSource(int(text))
    if path.is_dir():
        return ImagesSource(find_images(path))
    if not path.is_file():
        raise SourceError(
            f"{text or 'an empty name'} does not exist: give a video, an image, a folder of images, "
            "the number of a webcam, or a bag"
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImagesSource([path])
    return VideoSource(path)


class VideoSource:
    """A video file; stamps are the frame's index divided by the frame rate."""

    def __init__(self, path: Path) -> None:
        """Raises SourceError if OpenCV cannot read it."""
        self._path = path
        capture = self._open()
        self.rate = _rate(capture)
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.length: int | None = count if count > 0 else None
        capture.release()

    def __iter__(self) -> Iterator[Frame]:
        capture = self._open()
        index = 0
        try:
            while True:
                found, image = capture.read()
                if not found:
                    break
                yield index, index / self.rate, _to_rgb(image)
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise SourceError(f"{self._path} holds no frame that can be decoded: convert it to H.264 with ffmpeg")
        if self.length and index < 0.95 * self.length:
            logger.warning("%s ends after %d of %d frames: it is cut short", self._path, index, self.length)

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SourceError(f"{self._path} is not a video or image that OpenCV reads: convert it with ffmpeg")
        return capture


class ImagesSource:
    """Images in the given order, at RATE. One that cannot be read is skipped; SourceError if none can be."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.rate = RATE
        self.length: int | None = len(paths)

    def __iter__(self) -> Iterator[Frame]:
        skipped = 0
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path)
            except SourceError as error:
                skipped += 1
                if self.length == 1:
                    raise
                if skipped == self.length:
                    raise SourceError(f"none of {skipped} images can be read; the last: {error}") from error
                logger.warning("skipped: %s", error)
                continue
            yield index, index / self.rate, image


class CameraSource:
    """A webcam by number; stamps are seconds of the system clock."""

    def __init__(self, number: int) -> None:
        """Raises SourceError if there is no such camera."""
        self._number = number
        capture = self._open()
        self.rate = _rate(capture)
        self.length: int | None = None
        capture.release()

    def __iter__(self) -> Iterator[Frame]:
        capture = self._open()
        # One frame waiting, not several: else what is seen is seconds old.
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        index = 0
        try:
            while True:
                found, image = capture.read()
                if not found:
                    raise SourceError(f"webcam {self._number} stopped after {index} frames: check its cable")
                yield index, time.time(), _to_rgb(image)
                index += 1
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(self._number)
        if not capture.isOpened():
            raise SourceError(
                f"webcam {self._number} cannot be opened: check that /dev/video{self._number} exists, that you may "
                "read it (group video), and that no other program uses it"
            )
        return capture


def find_images(folder: Path) -> list[Path]:
    """The images of a folder in natural order: frame2 before frame10.

    Raises:
        SourceError: there is none.
    """
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not found:
        raise SourceError(f"{folder} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))}): give another folder")
    return sorted(
        found,
        key=lambda path: [
            (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", path.name)
        ],
    )


def read_image(path: Path) -> Image:
    """An image file as uint8 RGB [H, W, 3]; 16-bit images are scaled to 8 bits.

    Raises:
        SourceError: it is missing or not an image.
    """
    if not path.is_file():
        raise SourceError(f"{path} does not exist: check the name")
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise SourceError(f"{path} ({data.size} bytes) is not an image that OpenCV reads: is it cut short?")
    return _to_rgb(image)


def _to_rgb(image: cv2.typing.MatLike) -> Image:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _rate(capture: cv2.VideoCapture) -> float:
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    return rate if 0 < rate < 1000 else RATE


def _is_bag(path: Path) -> bool:
    return path.suffix in (".mcap", ".db3", ".bag") or (path / "metadata.yaml").is_file()
