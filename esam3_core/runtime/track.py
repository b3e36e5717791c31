# SPDX-License-Identifier: Apache-2.0
"""What the runtime tells its user: detections and tracks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from esam3_core.runtime.masks import BoolArray, CroppedMask

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the frame."""

State = Literal["new", "tracked", "occluded"]


@dataclass(frozen=True, eq=False)
class Detection:
    """One instance of a concept in one frame."""

    concept: str
    score: float  # 0..1
    box: Box
    crop: CroppedMask

    @cached_property
    def mask(self) -> BoolArray:
        """The mask in the whole frame: bool [H, W]; built when first asked for."""
        return self.crop.full()


@dataclass(frozen=True, eq=False)
class Track:
    """One instance followed over time, as seen in one frame.

    `id` counts from 1 and fits 16 bits. `state` is "new" in the first frame that carries the id, "tracked" while the
    instance is seen and "occluded" while it is remembered but not seen: then the mask is empty and the box is where
    the instance was seen last. Without memory, a track that is missed for a moment (`TrackerConfig.hold`) stays
    "tracked" with its last mask, moved on; its `last_seen` tells.
    """

    id: int
    concept: str
    score: float  # 0..1, smoothed over frames
    state: State
    box: Box
    crop: CroppedMask
    first_seen: float  # s, stamp of the first frame that showed it
    last_seen: float  # s

    @cached_property
    def mask(self) -> BoolArray:
        """The mask in the whole frame: bool [H, W]; built when first asked for."""
        return self.crop.full()
