# SPDX-License-Identifier: Apache-2.0
"""A track with a memory, while it lives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.exemplars import Shown
from esam3_core.runtime.live_track import SCORE_MEMORY, LiveTrack
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.track import Box, State, Track

NO_MASK = np.zeros((0, 0), np.float32)


@dataclass(eq=False)
class MemoryTrack(LiveTrack):
    """One instance whose memory lies in a bank under `key`.

    What belongs to the frame in hand is set anew by the roster in every frame: `logits` to `suppressed`.
    """

    key: int = 0
    followed: bool = False  # a user showed it: no detection starts, continues or ends it
    look: Shown | None = None  # how it looked when a user showed it
    sought_at: float = -math.inf  # stamp when it was last looked for by its look
    agreed_at: float = -math.inf  # stamp of the last detection that agreed
    corrected_at: float = -math.inf  # stamp of the last detection that went into memory
    looks: int = 0  # detector runs while it was in sight
    misses: int = 0  # those of them that did not find it
    refuted: bool = False  # so many of the first that only a detection shows it again
    beside: set[int] = field(default_factory=set)  # keys of tracks that a detector saw at the same time
    restored: bool = False  # it comes from a file, and has not met a frame yet

    logits: NDArray[Any] = field(default_factory=lambda: NO_MASK)  # [h, w], of the mask
    iou: float = 0.0  # 0..1, expected of the mask
    objectness: float = 0.0  # logit
    pointer: NDArray[Any] = field(default_factory=lambda: NO_MASK)  # [d]
    sighted: bool = False  # memory sees it
    suppressed: bool = False  # it stands where another track of its group does, or lost most of its mask to one

    @property
    def group(self) -> str:
        """All that a user showed are one group, whatever their names."""
        return "" if self.followed else super().group  # no concept that is searched for is empty

    def meet(self, size: tuple[int, int], stamp: float) -> None:
        """First frame, of `size` (H, W), after a restart: ages start anew, and the camera may be another one."""
        height, width = self.crop.size
        x, y, w, h = self.box
        self.box = x * size[1] / width, y * size[0] / height, w * size[1] / width, h * size[0] / height
        self.diagonal = math.hypot(*self.box[2:])
        self.crop = CroppedMask.empty(size)
        self.first_seen = min(self.first_seen, stamp)
        self.last_seen = self.detected_at = self.agreed_at = stamp
        self.restored = False

    def show(self, crop: CroppedMask, stamp: float) -> None:
        """It is seen in this frame, by memory or by a detection."""
        self.move(mask_box(crop), crop, stamp)
        self.visible = True

    def judge(self, score: float) -> None:
        """Smooth a score 0..1 into that of the track."""
        self.score = SCORE_MEMORY * self.score + (1 - SCORE_MEMORY) * score

    def adopt(self, newer: MemoryTrack) -> None:
        """Go on with what a younger track of the same instance knows of the frame; memory stays its own."""
        self.take_over(newer)
        self.logits, self.iou, self.objectness = newer.logits, newer.iou, newer.objectness
        self.agreed_at = max(self.agreed_at, newer.agreed_at)
        self.sighted, self.suppressed = True, False

    def report(self, stamp: float) -> Track:
        """What the user is told of a track with an id in the frame of `stamp`."""
        state: State = "occluded" if not self.visible else "tracked" if self.announced else "new"
        self.announced = True
        crop = self.crop if self.visible else CroppedMask.empty(self.crop.size)
        return Track(self.id, self.concept, self.score, state, self.box, crop, self.first_seen, self.last_seen)


def mask_box(crop: CroppedMask) -> Box:
    """The tight box of a mask."""
    x, y, width, height = crop.roi
    return float(x), float(y), float(width), float(height)
