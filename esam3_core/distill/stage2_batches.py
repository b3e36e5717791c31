# SPDX-License-Identifier: Apache-2.0
"""Tracks through clips, as batches: who is shown how, where each is, when it is hidden or out of sight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from esam3_core.config_stage2 import PROMPTS, Stage2Config
from esam3_core.distill.stage2_cache import CachedClip, ClipCache, Taught, box_corners
from esam3_core.distill.stage2_windows import WindowPlan, plan_windows

ROUGH_IOU = 0.75  # of a given mask with the true one, at least
MIN_START = 0.0006  # share of the frame that an object must cover where it is shown to the student
MIN_PIXELS = 24  # of S x S, below which an object that shows is neither asked for nor denied
MAPS = ("p16", "p8", "p4")
STRIDES = (1, 1, 2, 3)  # frames from one to the next


@dataclass
class ClipBatch:
    """B clips of F frames, and T tracks of them."""

    p16: Tensor  # half [F, B, d, S/16, S/16]
    p8: Tensor  # half [F, B, d/4, S/8, S/8]
    p4: Tensor  # half [F, B, d/8, S/4, S/4]
    clip: Tensor  # int64 [T], of each track
    masks: Tensor  # float32 [F, T, S/4, S/4], share of each cell that the object covers
    visible: Tensor  # bool [F, T]
    known: Tensor  # bool [F, T]; where not, nothing is asked
    given: Tensor  # bool [F, T]: a mask comes from outside; in the first frame the others have points
    shown: Tensor  # float32 [F, T, S/4, S/4], the mask that comes from outside: like the true one, but rougher
    points: Tensor  # float32 [T, K, 2], of the first frame
    labels: Tensor  # int64 [T, K]
    written: Tensor  # bool [F, T]; where not, the frame is not remembered, however sure the student is
    near: Tensor  # bool [F, T]; the track is looked for in a window only
    corner: Tensor  # int64 [F, T, 2], row and column of the window's first cell
    taught: Taught | None  # [F, T, ...]
    thumbs: NDArray[np.uint8]  # [F, B, S/2, S/2, 3]


class Stage2Batches:
    """Batches by number: number i depends on the seed and i alone.

    Args:
        config: of the run; caches: of its sources, filled.
        points: K of the student.
    """

    def __init__(self, config: Stage2Config, caches: Sequence[ClipCache], points: int) -> None:
        self.config, self.caches, self.points = config, caches, points
        weights = np.array([source.weight for source in config.sources], np.float64)
        self.weights = weights / weights.sum()

    def length(self, step: int) -> int:
        """F of a step."""
        return self.config.frames_last if step >= self.config.grow * self.config.steps else self.config.frames

    def batch(self, step: int) -> ClipBatch:
        """Batch number `step`."""
        config = self.config
        rng = np.random.default_rng([config.seed, step])
        frames = self.length(step)
        wanted = max(1, config.tracks * config.frames // frames)
        parts: list[_Part] = []
        while sum(len(part.rows) for part in parts) < wanted:
            room = min(config.objects, wanted - sum(len(part.rows) for part in parts))
            part = self._part(rng, frames, room)
            if part is not None:
                parts.append(part)
        return self._collate(parts, rng)

    def _part(self, rng: np.random.Generator, frames: int, room: int) -> _Part | None:
        """A stretch of a random clip and up to `room` objects that show in its first frame."""
        source = int(rng.choice(len(self.caches), p=self.weights))
        cache = self.caches[source]
        index = int(rng.integers(len(cache.sizes)))
        areas = cache.visible(index)
        if not len(areas):
            return None  # it could not be read
        path = choose_path(len(areas), frames, rng)
        ready = np.flatnonzero(areas[path[0]] >= max(MIN_START * cache.size**2, MIN_PIXELS))
        if not len(ready):
            return None
        return _Part((source, index), cache.read(index, path), rng.permutation(ready)[:room])

    def _collate(self, parts: list[_Part], rng: np.random.Generator) -> ClipBatch:
        frames = len(parts[0].clip.masks)
        clip = np.concatenate([np.full(len(p.rows), i) for i, p in enumerate(parts)])
        scene = _Scene(
            {name: torch.stack([getattr(p.clip, name) for p in parts], 1) for name in MAPS},
            np.stack([p.clip.thumbs for p in parts], 1),
            np.concatenate([p.clip.masks[:, p.rows] for p in parts], 1),
            _joined(parts),
        )
        for place, part in enumerate(parts):
            other = parts[(place + 1) % len(parts)]
            if other.key != part.key and rng.random() < self.config.away:
                _look_away(scene, place, np.flatnonzero(clip == place), other, _stretch(rng, frames), rng)
        areas = scene.masks.sum((2, 3))  # [F, T]
        known = (areas == 0) | (areas >= MIN_PIXELS)
        masks = functional.avg_pool2d(torch.from_numpy(scene.masks.astype(np.float32)), 4)
        given, points, labels = self._prompts(scene.masks, known, areas, rng)
        rough = masks.clone()
        for frame, track in np.argwhere(given):
            rough[frame, track] = torch.from_numpy(roughened(masks[frame, track].numpy(), rng))
        written = rng.random(areas.shape) >= self.config.unwritten
        windows = self._windows(scene.masks, given, rng)
        masks[torch.from_numpy(windows.missed)] = 0.0
        return ClipBatch(
            p16=scene.maps["p16"],
            p8=scene.maps["p8"],
            p4=scene.maps["p4"],
            clip=torch.from_numpy(clip),
            masks=masks,
            visible=torch.from_numpy((areas > 0) & ~windows.missed),
            known=torch.from_numpy(known),
            given=torch.from_numpy(given),
            shown=rough,
            points=torch.from_numpy(points),
            labels=torch.from_numpy(labels),
            written=torch.from_numpy(written),
            near=torch.from_numpy(windows.near),
            corner=torch.from_numpy(windows.corner),
            taught=scene.taught,
            thumbs=scene.thumbs,
        )

    def _windows(
        self, masks: NDArray[np.bool_], given: NDArray[np.bool_], rng: np.random.Generator
    ) -> WindowPlan:
        """Who is looked for in a window: nobody, if the memory is not to learn it."""
        return plan_windows(masks, given if self.config.student.memory.near else np.ones_like(given), rng)

    def _prompts(
        self, masks: NDArray[np.bool_], known: NDArray[np.bool_], areas: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int64]]:
        """Who is shown by a mask in which frame [F, T], and the points [T, K, 2] and labels [T, K] of the others."""
        frames, tracks = areas.shape
        chances = np.array(self.config.prompts) / sum(self.config.prompts)
        ways = np.asarray(rng.choice(len(PROMPTS), size=tracks, p=chances))
        given = np.zeros((frames, tracks), np.bool_)
        given[0] = ways == PROMPTS.index("mask")
        large = known & (areas >= MIN_START * masks[0, 0].size)
        large[0] = False
        for track in np.flatnonzero((rng.random(tracks) < self.config.corrected) & large.any(0)):
            places = np.flatnonzero(large[:, track])
            given[places[rng.integers(len(places))], track] = True
        points = np.zeros((tracks, self.points, 2), np.float32)
        labels = np.full((tracks, self.points), -1, np.int64)
        for track in np.flatnonzero(~given[0]):
            shown, told = prompt_of(masks[0, track], ways[track] == PROMPTS.index("box"), rng)
            points[track, : len(shown)], labels[track, : len(told)] = shown, told
        return given, points, labels


@dataclass(frozen=True)
class _Part:
    key: tuple[int, int]  # source and clip
    clip: CachedClip
    rows: NDArray[np.int64]  # its objects that become tracks


@dataclass
class _Scene:
    """What a batch shows, before anybody is asked: B clips, T tracks."""

    maps: dict[str, Tensor]  # [F, B, ...]
    thumbs: NDArray[np.uint8]  # [F, B, S/2, S/2, 3]
    masks: NDArray[np.bool_]  # [F, T, S, S]
    taught: Taught | None


def _look_away(
    scene: _Scene,
    place: int,
    tracks: NDArray[np.int64],
    other: _Part,
    away: NDArray[np.int64],
    rng: np.random.Generator,
) -> None:
    """For some frames the camera of a clip sees a frame of another clip, where none of its objects can be."""
    frame = int(rng.integers(len(other.clip.masks)))
    for name, maps in scene.maps.items():
        maps[away[0] : away[-1] + 1, place] = getattr(other.clip, name)[frame]
    scene.thumbs[away, place] = other.clip.thumbs[frame]
    hidden = np.ix_(away, tracks)
    scene.masks[hidden] = False
    if scene.taught is not None:
        scene.taught.known[torch.from_numpy(away)[:, None], torch.from_numpy(tracks)] = False


def choose_path(length: int, frames: int, rng: np.random.Generator) -> list[int]:
    """`frames` frames of a clip of `length`, in some direction and stride; at its ends the path turns round."""
    stride = min(int(rng.choice(STRIDES)), max(1, length - 2))
    start = int(rng.integers(length))
    steps = start + (1 if rng.random() < 0.5 else -1) * stride * np.arange(frames)
    period = max(1, 2 * (length - 1))
    folded = np.mod(steps, period)
    return [int(step) for step in np.minimum(folded, period - folded)]


def prompt_of(
    mask: NDArray[np.bool_], boxed: bool, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A box a little off, or a point on the object and now and then one beside it: [n, 2] in 0..1 and labels [n]."""
    height, width = mask.shape
    corners = box_corners(mask)
    if boxed:
        off = rng.normal(0, 0.06, (2, 2)).clip(-0.15, 0.15) * (corners[1] - corners[0])
        return np.clip(corners + off, 0, 1).astype(np.float32), np.array([2, 3])
    inner = cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    inside = np.argwhere(inner >= 0.5 * inner.max() if rng.random() < 0.7 else mask)
    chosen = [inside[rng.integers(len(inside))]]
    outside = np.argwhere(~mask)
    if rng.random() < 0.3 and len(outside):
        chosen.append(outside[rng.integers(len(outside))])
    points = (np.array(chosen)[:, ::-1] + 0.5) / (width, height)
    return points.astype(np.float32), np.array([1, 0][: len(chosen)])


def roughened(mask: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A mask as a detector might give it: a cell too wide, too narrow, or shifted, where it is about the object still.

    A cell is a quarter of a small object: a memory that is shown such a mask, and asked for the true one, learns not to
    believe what it is shown.
    """
    kernel = np.ones((3, 3), np.uint8)
    way = int(rng.integers(5))
    if way == 0:
        rough = cv2.dilate(mask, kernel)
    elif way == 1:
        rough = cv2.erode(mask, kernel)
    elif way == 2:
        down, right = rng.integers(-1, 2, 2)
        shift = np.array([[1, 0, right], [0, 1, down]], np.float32)
        rough = cv2.warpAffine(mask, shift, mask.shape[::-1], flags=cv2.INTER_NEAREST)
    else:
        rough = mask
    ours, theirs = rough > 0.5, mask > 0.5
    close = (ours & theirs).sum() >= ROUGH_IOU * max(1, (ours | theirs).sum())
    return np.asarray(rough if close else mask, np.float32)


def _stretch(rng: np.random.Generator, frames: int) -> NDArray[np.int64]:
    """Some neighbouring frames, neither the first nor all others."""
    length = int(rng.integers(1, max(2, frames - 1)))
    first = int(rng.integers(1, max(2, frames - length + 1)))
    return np.arange(first, min(first + length, frames))


def _joined(parts: list[_Part]) -> Taught | None:
    """What the teacher says of all tracks."""
    said = [(p.clip.taught, torch.from_numpy(p.rows)) for p in parts]
    known = [(taught, rows) for taught, rows in said if taught is not None]
    if len(known) < len(said):
        return None
    names = ("masks", "objectness", "pointers", "known")
    return Taught(*(torch.cat([getattr(taught, name)[:, rows] for taught, rows in known], 1) for name in names))
