# SPDX-License-Identifier: Apache-2.0
"""Real pictures as clips: a crop that moves over a picture, and cut-outs of other pictures that move across it.

Every cut-out is an object of its own, so objects hide each other; now and then two are alike (twins), leave the frame
and come back. The masks are exact because every layer is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.data.augment import disturb
from esam3_core.data.clip import Clip
from esam3_core.data.paste import CutOut
from esam3_core.data.sample import Label, Samples
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.preprocess import Image

SIZE = (240, 320)  # H, W of the clips, pixels
RATE = 8.0  # Hz that the clips claim
MIN_OBJECT = 150  # pixels of the clip that an object of the picture needs in the first frame to be followed
TWINS = 0.4  # chance that a cut-out comes twice
HASTY = 0.3  # chance that the camera moves at twice its usual pace
APPROACH = 0.3  # chance that something comes nearer all the time, or goes away
NEARER = 1.3  # natural logarithm of how many times as large it is then at most
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Layer:
    """A cut-out and its way through the clip."""

    cut: CutOut
    ways: tuple[Matrix, ...]  # per frame: cut-out pixels -> frame pixels, [2, 3]


@dataclass(frozen=True)
class Play:
    """A whole clip before it is drawn."""

    image: Image  # the picture below, [H, W, 3]
    masks: NDArray[np.uint8]  # [n, H, W], its objects
    ways: tuple[Matrix, ...]  # per frame: picture pixels -> frame pixels, [2, 3]
    layers: tuple[Layer, ...]
    labels: Mapping[int, Label]
    noise: int  # seed of the camera's imperfections


class StillClips:
    """Clips made of pictures. Clip i is the same at every call.

    Args:
        pictures: to be moved over; cuts: what moves across them.
        clips: how many; frames: of each.
        seed: of everything that is drawn.
    """

    rate = RATE

    def __init__(self, pictures: Samples, cuts: Sequence[CutOut], clips: int, frames: int, seed: int) -> None:
        self.pictures, self.cuts, self.clips, self.frames, self.seed = pictures, list(cuts), clips, frames, seed

    def __len__(self) -> int:
        return self.clips

    def __getitem__(self, index: int) -> Clip:
        play = self._plan(index)

        @lru_cache(maxsize=2)
        def drawn(frame: int) -> tuple[Image, Mapping[int, CroppedMask]]:
            return draw(play, frame)

        frames = _Drawn(self.frames, lambda frame: drawn(frame)[0])
        known = tuple(range(self.frames))
        return Clip(f"still-{index:05d}", frames, RATE, known, lambda frame: drawn(frame)[1], play.labels)

    def _plan(self, index: int) -> Play:
        rng = np.random.default_rng([self.seed, index])
        sample = self.pictures[int(rng.integers(len(self.pictures)))]
        height, width = sample.image.shape[:2]
        ways = _camera(rng, self.frames, (height, width))
        areas = [int(_warped(mask, ways[0]).sum()) for mask in sample.masks]
        kept = [i for i, area in enumerate(areas) if area >= MIN_OBJECT][:12]
        labels = {number: sample.labels[i] for number, i in enumerate(kept)}
        layers: list[Layer] = []
        for _ in range(int(rng.integers(1, 4)) if self.cuts else 0):
            cut = self.cuts[int(rng.integers(len(self.cuts)))]
            for _ in range(2 if rng.random() < TWINS else 1):
                layers.append(Layer(cut, _way(rng, self.frames, cut)))
                labels[len(kept) + len(layers) - 1] = cut.label
        masks = sample.masks[kept] if kept else np.zeros((0, height, width), np.uint8)
        return Play(sample.image, masks, ways, tuple(layers), labels, int(rng.integers(1 << 30)))


@dataclass(frozen=True)
class _Drawn:
    """Frames that are drawn when they are read."""

    count: int
    draw: Callable[[int], Image]

    def __len__(self) -> int:
        return self.count

    def read(self, indices: Sequence[int]) -> Iterator[Image]:
        """See `Frames.read`."""
        for index in indices:
            yield self.draw(index)


def draw(play: Play, frame: int) -> tuple[Image, Mapping[int, CroppedMask]]:
    """One frame and the masks of what shows in it."""
    way, side = play.ways[frame], SIZE[::-1]
    image = np.asarray(cv2.warpAffine(play.image, way, side, borderMode=cv2.BORDER_REFLECT), np.uint8)
    masks = [_warped(mask, way) for mask in play.masks]
    for layer in play.layers:
        way = layer.ways[frame]
        picture = cv2.warpAffine(layer.cut.image, way, side, borderMode=cv2.BORDER_REPLICATE)
        alpha = _warped(layer.cut.mask, way)
        blend = cv2.GaussianBlur(alpha.astype(np.float32), (0, 0), 0.8)[..., None]
        image = (picture * blend + image * (1 - blend)).astype(np.uint8)
        masks = [mask * (1 - alpha) for mask in masks]
        masks.append(alpha)
    # One camera, one look: the same disturbance in all frames of a clip.
    image = np.asarray(disturb(image, np.random.default_rng(play.noise)), np.uint8)
    crops = {number: CroppedMask.from_full(mask.astype(np.bool_)) for number, mask in enumerate(masks)}
    return image, {number: crop for number, crop in crops.items() if crop.area}


def _warped(mask: NDArray[np.uint8], way: Matrix) -> NDArray[np.uint8]:
    return np.asarray(cv2.warpAffine(mask, way, SIZE[::-1], flags=cv2.INTER_NEAREST), np.uint8)


def _camera(rng: np.random.Generator, frames: int, size: tuple[int, int]) -> tuple[Matrix, ...]:
    """A crop of the picture that pans, zooms and turns a little."""
    height, width = size
    pace = 2.0 if rng.random() < HASTY else 1.0
    cover = max(SIZE[0] / height, SIZE[1] / width)
    zoom = cover * np.exp(_wave(rng, frames, 0.12) + rng.uniform(0.05, 0.7) + _approach(rng, frames))
    turn = _wave(rng, frames, 0.12)
    x = width / 2 + width * _wave(rng, frames, 0.25, pace)
    y = height / 2 + height * _wave(rng, frames, 0.25, pace)
    shape = np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
    middle = (SIZE[1] / 2, SIZE[0] / 2)
    return tuple(_placed((a, b), z, t, middle, shape) for a, b, z, t in zip(x, y, zoom, turn, strict=True))


def _way(rng: np.random.Generator, frames: int, cut: CutOut) -> tuple[Matrix, ...]:
    """A cut-out that crosses the frame, with or without a stop, changes its outline on the way, and may leave it."""
    height, width = cut.mask.shape
    side = rng.uniform(0.15, 0.6) * SIZE[0]
    zoom = side / max(height, width) * np.exp(_wave(rng, frames, 0.15) + _approach(rng, frames))
    turn = rng.normal(0, 0.2) + _wave(rng, frames, 0.25)
    start, end = rng.uniform(-0.25, 1.25, 2), rng.uniform(-0.25, 1.25, 2)
    ease = np.linspace(0, 1, frames) + _wave(rng, frames, 0.3)
    x = (start[0] + (end[0] - start[0]) * ease) * SIZE[1]
    y = (start[1] + (end[1] - start[1]) * ease) * SIZE[0]
    flip = np.diag([-1.0 if rng.random() < 0.5 else 1.0, 1.0])
    shapes = [flip @ _leaning(a, b) for a, b in zip(_wave(rng, frames, 0.15), _wave(rng, frames, 0.15), strict=True)]
    middle = (width / 2, height / 2)
    return tuple(
        _placed(middle, z, t, (a, b), shape) for a, b, z, t, shape in zip(x, y, zoom, turn, shapes, strict=True)
    )


def _placed(point: tuple[float, float], zoom: float, turn: float, place: tuple[float, float], shape: Matrix) -> Matrix:
    """The map that applies `shape` [2, 2], zooms, turns (radians) and brings `point` to `place`."""
    c, s = zoom * np.cos(turn), zoom * np.sin(turn)
    linear = np.array([[c, -s], [s, c]]) @ shape
    return np.column_stack([linear, np.array(place) - linear @ np.array(point)])


def _leaning(stretch: float, shear: float) -> Matrix:
    """What a flat thing looks like that turns a little out of the picture's plane, of the same area: [2, 2]."""
    return np.array([[np.exp(stretch), shear], [0.0, np.exp(-stretch)]])


def _approach(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """Logarithm of how many times as large something is in each frame for coming nearer; mostly 0."""
    if rng.random() >= APPROACH:
        return np.zeros(frames)
    nearer = np.linspace(0.0, rng.uniform(0.3, NEARER), frames)
    return nearer if rng.random() < 0.5 else nearer[::-1]


def _wave(rng: np.random.Generator, frames: int, strength: float, pace: float = 1.0) -> NDArray[np.float64]:
    """A smooth curve of `frames` values of about this size; `pace` 2 = in half the time."""
    t = pace * np.linspace(0, 1, frames)
    waves = [a * np.sin(2 * np.pi * f * t + p) for a, f, p in zip(
        rng.normal(0, strength, 2), rng.uniform(0.2, 1.2, 2), rng.uniform(0, 2 * np.pi, 2), strict=True)]  # fmt: skip
    return np.asarray(np.sum(waves, axis=0))
