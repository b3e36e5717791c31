# SPDX-License-Identifier: Apache-2.0
"""A clip: frames in order, and masks of its objects in some or all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.data.pictures import read_picture
from esam3_core.data.sample import Label
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.preprocess import Image


class Frames(Protocol):
    """The pictures of a clip."""

    def __len__(self) -> int: ...
    def read(self, indices: Sequence[int]) -> Iterator[Image]:
        """Pictures uint8 RGB [H, W, 3] of the given frames; cheap where indices increase."""
        ...


@dataclass(frozen=True)
class ClipFrame:
    """One frame with its truth."""

    index: int  # in the clip, from 0
    image: Image  # uint8 [H, W, 3] RGB
    masks: Mapping[int, CroppedMask] | None  # object -> mask, only of those that show; None: nobody looked


@dataclass(frozen=True)
class Clip:
    """A video whose objects are known.

    Args:
        key: its name in the data set.
        frames: its pictures.
        rate: of its frames, 1/s.
        annotated: indices of the frames somebody looked at, increasing.
        masks: index of an annotated frame -> object -> mask, only of those that show.
        labels: object -> what may be said of it.
        absent: phrases known to be true of nothing in it.
        void: index -> bool [H, W] of what is neither object nor background there, or None.
        names: object -> what the data set calls it, where that is not its number.
    """

    key: str
    frames: Frames
    rate: float
    annotated: tuple[int, ...]
    masks: Callable[[int], Mapping[int, CroppedMask]]
    labels: Mapping[int, Label]
    absent: tuple[str, ...] = ()
    void: Callable[[int], NDArray[np.bool_] | None] = field(default=lambda _: None)
    names: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, indices: Sequence[int]) -> Iterator[ClipFrame]:
        """The given frames, in that order.

        Raises:
            ValueError, FileNotFoundError: a picture or a mask is missing or damaged.
        """
        looked_at = set(self.annotated)
        for index, image in zip(indices, self.frames.read(indices), strict=True):
            yield ClipFrame(index, image, self.masks(index) if index in looked_at else None)


class Clips(Protocol):
    """A data set of clips with random access."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Clip: ...


def choose_window(clip: Clip, count: int, rng: np.random.Generator, stride: int = 1) -> list[int]:
    """Indices of `count` annotated frames, each `stride` annotated frames after the one before.

    Where the clip is too short, the stride shrinks, and at last the clip's end is repeated.
    """
    known = clip.annotated
    if not known:
        raise ValueError(f"clip {clip.key} has no annotated frame: leave it out")
    stride = max(1, min(stride, (len(known) - 1) // max(count - 1, 1)))
    first = int(rng.integers(max(len(known) - stride * (count - 1), 1)))
    return [known[min(first + stride * step, len(known) - 1)] for step in range(count)]


@dataclass(frozen=True)
class FrameFiles:
    """Pictures in files."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, indices: Sequence[int]) -> Iterator[Image]:
        """See `Frames.read`."""
        for index in indices:
            yield read_picture(self.paths[index])


class VideoFile:
    """A video file. Frames between the wanted ones are passed over without being converted.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: OpenCV cannot read it.
    """

    def __init__(self, path: Path, count: int | None = None) -> None:
        """`count`: frames, where the annotation says so."""
        self.path = path
        if count is None:
            capture = self._open()
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            capture.release()
        self._count = count

    def __len__(self) -> int:
        return self._count

    def read(self, indices: Sequence[int]) -> Iterator[Image]:
        """See `Frames.read`; ValueError where the video ends before."""
        capture, place = self._open(), 0
        last: tuple[int, Image] | None = None
        try:
            for index in indices:
                if last is not None and last[0] == index:
                    yield last[1]
                    continue
                if index < place:
                    capture.release()
                    capture, place = self._open(), 0
                while place < index and capture.grab():
                    place += 1
                found, image = capture.read() if place == index else (False, None)
                if not found or image is None:
                    raise ValueError(f"{self.path} ends at frame {place}, before frame {index}: fetch it again")
                place += 1
                last = index, np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
                yield last[1]
        finally:
            capture.release()

    def _open(self) -> cv2.VideoCapture:
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} is missing: fetch the data set's videos, or name their folder")
        capture = cv2.VideoCapture(str(self.path))
        if not capture.isOpened():
            raise ValueError(f"{self.path} is no video that OpenCV reads: fetch it again")
        return capture
