# SPDX-License-Identifier: Apache-2.0
"""The two engines of memory: one looks for what tracks remember, the other turns a mask into something to remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.detector import FEATURES
from esam3_core.runtime.engines import Engine
from esam3_core.runtime.memory import MemoryBank
from esam3_core.runtime.object_prompt import ObjectPrompt
from esam3_core.runtime.stages import Stages

BUCKETS = (1, 2, 4, 8, 16)  # tracks in one run of an engine: few sizes, so that no engine meets a new one every frame
REMEMBERED = ("memory", "memory_age", "memory_used", "pointers", "pointer_age", "pointer_used")
PROPAGATOR_INPUTS = (*FEATURES, *REMEMBERED, "points", "point_labels")
PROPAGATOR_OUTPUTS = ("masks", "iou", "objectness", "pointer")
MEMORIZER_INPUTS = ("p16", "masks", "objectness", "prompted")
MEMORIZER_OUTPUTS = ("memory",)
Array = NDArray[Any]


@dataclass(frozen=True)
class Sightings:
    """What the propagator says of T tracks in one frame."""

    logits: Array  # [T, h, w], of the masks; they cover the whole frame
    iou: Array  # [T] 0..1, expected IoU of the masks
    objectness: Array  # [T] logit, above 0 where the object is visible
    pointers: Array  # [T, d]


class MemoryEngines:
    """Runs propagator and memorizer over any number of tracks, in buckets."""

    def __init__(self, propagator: Engine, memorizer: Engine, points: int, side: int, stages: Stages) -> None:
        """`points` is K, how many points or corners a track may be prompted with; masks have `side` x `side` cells."""
        self.points = points
        self.side = side
        self._propagator = propagator
        self._memorizer = memorizer
        self._stages = stages

    def propagate(
        self,
        features: Mapping[str, Any],
        bank: MemoryBank,
        keys: Sequence[int],
        prompts: Mapping[int, ObjectPrompt] | None = None,
    ) -> Sightings:
        """Look for tracks in a frame.

        Args:
            features: the image encoder's outputs, as arrays or handles.
            keys: T tracks, T >= 1.
            prompts: key -> points or box on this frame. A track that remembers nothing needs one.
        """
        given = {name: features[name] for name in FEATURES}
        parts = []
        with self._stages.measure("propagator"):
            for part in _buckets(keys):
                rows = bucket(len(part))
                points, labels = self._prompts(part, prompts or {}, rows)
                feeds = {**given, **bank.read(part, rows), "points": points, "point_labels": labels}
                raw = self._propagator.run(feeds)
                parts.append([raw[name][: len(part)] for name in PROPAGATOR_OUTPUTS])
        return Sightings(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def memorise(
        self, features: Mapping[str, Any], logits: Array, objectness: Array, prompted: Sequence[bool]
    ) -> Array:
        """What is to be remembered of T masks, T >= 1: latents [T, L, m].

        Args:
            logits: [T, h, w].
            objectness: [T] logit.
            prompted: whether a mask came from a detection or a user, not from memory.
        """
        parts = []
        with self._stages.measure("memorizer"):
            for part in _buckets(range(len(logits))):
                rows, at = bucket(len(part)), list(part)
                feeds = {
                    "p16": features["p16"],
                    "masks": _padded(logits[at].astype(np.float32), rows),
                    "objectness": _padded(objectness[at].astype(np.float32), rows),
                    "prompted": _padded(np.array(prompted, np.bool_)[at], rows),
                }
                parts.append(self._memorizer.run(feeds)["memory"][: len(part)])
        return np.concatenate(parts)

    def _prompts(self, keys: Sequence[int], prompts: Mapping[int, ObjectPrompt], rows: int) -> tuple[Array, Array]:
        points = np.zeros((rows, self.points, 2), np.float32)
        labels = np.full((rows, self.points), -1, np.int64)
        for row, key in enumerate(keys):
            if key in prompts:
                points[row], labels[row] = prompts[key].points, prompts[key].labels
        return points, labels


def bucket(count: int) -> int:
    """The smallest bucket that holds `count` tracks, 1..16."""
    return next(size for size in BUCKETS if size >= count)


def _buckets(items: Sequence[int]) -> list[Sequence[int]]:
    largest = BUCKETS[-1]
    return [items[start : start + largest] for start in range(0, len(items), largest)]


def _padded(array: Array, rows: int) -> Array:
    out = np.zeros((rows, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out
