# SPDX-License-Identifier: Apache-2.0
"""The engines of memory: one looks for what tracks remember, another turns a mask into something to remember.

SAM 3's tracker has two more: a neck of its own, and one that points at masks which somebody gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.buckets import padded, rows_for, split
from esam3_core.runtime.detector import FEATURES
from esam3_core.runtime.engines import Engine
from esam3_core.runtime.memory import MemoryBank
from esam3_core.runtime.near import SPLIT, Area, runs_out, whole_frame, window_corner
from esam3_core.runtime.object_prompt import ObjectPrompt
from esam3_core.runtime.stages import Stages

REMEMBERED = ("memory", "memory_age", "memory_used", "pointers", "pointer_age", "pointer_used")
PROPAGATOR_INPUTS = (*FEATURES, *REMEMBERED, "points", "point_labels")
NEAR_INPUTS = (*FEATURES, *REMEMBERED, "corner")
PROPAGATOR_OUTPUTS = ("masks", "iou", "objectness", "pointer")
MEMORIZER_INPUTS = ("p16", "masks", "objectness", "prompted")
MEMORIZER_OUTPUTS = ("memory",)
POINTER_INPUTS = (*FEATURES, "masks")
UNNECKED = "map"  # what the image encoder gives a neck of memory
Array = NDArray[Any]


@dataclass(frozen=True)
class Sightings:
    """What the propagator says of T tracks in one frame."""

    logits: Array  # [T, h, w], of the masks; they cover the whole frame
    iou: Array  # [T] 0..1, expected IoU of the masks
    objectness: Array  # [T] logit, above 0 where the object is visible
    pointers: Array  # [T, d]


class MemoryEngines:
    """Runs propagator and memorizer over any number of tracks: on a GPU in buckets, on a CPU without padding."""

    def __init__(
        self,
        propagator: Engine,
        memorizer: Engine,
        points: int,
        side: int,
        stages: Stages,
        near: Engine | None = None,
        neck: Engine | None = None,
        pointer_encoder: Engine | None = None,
    ) -> None:
        """`points` is K, how many points or corners a track may be prompted with; masks have `side` x `side` cells.

        Args:
            near: a propagator that looks into a window; None = every track is looked for in the whole frame.
            neck: makes the features that memory sees; None = those of the detector.
            pointer_encoder: points at masks that were given; None = memory does, once it knows them.
        """
        self.points = points
        self.side = side
        self._propagator = propagator
        self._memorizer = memorizer
        self._near = near
        self._neck = neck
        self._pointer_encoder = pointer_encoder
        self._stages = stages
        self._seen: tuple[Any, dict[str, Any]] = (None, {})  # a frame's features, and what the neck made of them

    def propagate(
        self,
        features: Mapping[str, Any],
        bank: MemoryBank,
        keys: Sequence[int],
        prompts: Mapping[int, ObjectPrompt] | None = None,
        expected: Mapping[int, Area] | None = None,
    ) -> Sightings:
        """Look for tracks in a frame.

        Args:
            features: the image encoder's outputs, as arrays or handles.
            keys: T tracks, T >= 1.
            prompts: key -> points or box on this frame. A track that remembers nothing needs one.
            expected: key -> where a track that was seen a moment ago probably is. It is looked for there first, if
                there is an engine for that, and in the whole frame if it is not there or not all of it is.
        """
        given = self._features(features)
        with self._stages.measure("propagator"):
            found = self._look_near(given, bank, expected or {})
            rest = [key for key in keys if key not in found]
            for part in split(rest):
                rows = rows_for(self._propagator, len(part))
                points, labels = self._prompts(part, prompts or {}, rows)
                feeds = {**given, **bank.read(part, rows), "points": points, "point_labels": labels}
                raw = self._propagator.run(feeds)
                found.update(_by_key(part, [raw[name] for name in PROPAGATOR_OUTPUTS]))
        return Sightings(*(np.stack(values) for values in zip(*(found[key] for key in keys), strict=True)))

    def _look_near(
        self, given: Mapping[str, Any], bank: MemoryBank, expected: Mapping[int, Area]
    ) -> dict[int, tuple[Array, ...]]:
        """Key -> what the propagator says, of the tracks that are where they were expected to be."""
        if self._near is None:
            return {}
        grid, found = self.side // SPLIT, dict[int, tuple[Array, ...]]()
        at = {key: window_corner(area, grid) for key, area in expected.items()}
        corners = {key: corner for key, corner in at.items() if corner is not None}
        for part in split(list(corners)):
            rows = rows_for(self._near, len(part))
            corner = np.array([corners[key] for key in part], np.int64)
            raw = self._near.run({**given, **bank.read(part, rows), "corner": padded(corner, rows)})
            masks, *others = (raw[name][: len(part)] for name in PROPAGATOR_OUTPUTS)
            seen = _by_key(part, [whole_frame(masks, corner, grid), *others])
            there = (raw["objectness"][: len(part)] > 0) & ~runs_out(masks, corner, grid)
            found.update({key: seen[key] for key, is_there in zip(part, there, strict=True) if is_there})
        return found

    def memorise(
        self, features: Mapping[str, Any], logits: Array, objectness: Array, prompted: Sequence[bool]
    ) -> Array:
        """What is to be remembered of T masks, T >= 1: latents [T, L, m].

        Args:
            logits: [T, h, w].
            objectness: [T] logit.
            prompted: whether a mask came from a detection or a user, not from memory.
        """
        given, parts = self._features(features), []
        with self._stages.measure("memorizer"):
            for part in split(range(len(logits))):
                rows, at = rows_for(self._memorizer, len(part)), list(part)
                feeds = {
                    "p16": given["p16"],
                    "masks": padded(logits[at].astype(np.float32), rows),
                    "objectness": padded(objectness[at].astype(np.float32), rows),
                    "prompted": padded(np.array(prompted, np.bool_)[at], rows),
                }
                parts.append(self._memorizer.run(feeds)["memory"][: len(part)])
        return np.concatenate(parts)

    def point(self, features: Mapping[str, Any], bank: MemoryBank, keys: Sequence[int], logits: Array) -> Array:
        """Object pointers [T, d] of tracks whose masks were given and are remembered already.

        Args:
            logits: [T, h, w], of the masks.
        """
        if self._pointer_encoder is None:
            return self.propagate(features, bank, keys).pointers
        given, parts = self._features(features), []
        with self._stages.measure("pointer_encoder"):
            for part in split(range(len(keys))):
                rows = rows_for(self._pointer_encoder, len(part))
                masks = padded(logits[list(part)].astype(np.float32), rows)
                parts.append(self._pointer_encoder.run({**given, "masks": masks})["pointer"][: len(part)])
        return np.concatenate(parts)

    def _features(self, features: Mapping[str, Any]) -> dict[str, Any]:
        """What memory sees of a frame; its own neck runs once per frame."""
        if self._neck is None:
            return {name: features[name] for name in FEATURES}
        if self._seen[0] is not features:
            with self._stages.measure("memory_neck"):
                self._seen = (features, self._neck.run({UNNECKED: features[UNNECKED]}, keep=FEATURES))
        return self._seen[1]

    def _prompts(self, keys: Sequence[int], prompts: Mapping[int, ObjectPrompt], rows: int) -> tuple[Array, Array]:
        points = np.zeros((rows, self.points, 2), np.float32)
        labels = np.full((rows, self.points), -1, np.int64)
        for row, key in enumerate(keys):
            if key in prompts:
                points[row], labels[row] = prompts[key].points, prompts[key].labels
        return points, labels


def _by_key(keys: Sequence[int], outputs: Sequence[Array]) -> dict[int, tuple[Array, ...]]:
    """Key -> its rows of an engine's outputs, which may be padded."""
    return {key: tuple(output[row] for output in outputs) for row, key in enumerate(keys)}
