# SPDX-License-Identifier: Apache-2.0
"""A track while it lives: what the tracker remembers of one instance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.near import Area
from esam3_core.runtime.track import Box, Detection, State, Track

SCORE_MEMORY = 0.7  # share of the old score in the smoothed one
VELOCITY_MEMORY = 0.5  # share of the old velocity in the smoothed one
DIAGONAL_MEMORY = 0.9  # share of the old diagonal in the smoothed one
STEADY = 0.85  # ratio of two areas from which the motion of the centre is motion of the instance
MIN_ELAPSED = 1e-3  # s: between closer stamps, a jitter of one pixel would be a speed of thousands
HORIZON = 0.5  # s: beyond this, a constant velocity says nothing about where an unseen instance is
TrackT = TypeVar("TrackT", bound="LiveTrack")


@dataclass(eq=False)
class LiveTrack:
    """One instance; `id` is 0 until it is confirmed. Stamps are in seconds of image time."""

    concept: str
    score: float
    box: Box
    crop: CroppedMask
    first_seen: float
    last_seen: float
    detected_at: float  # stamp of the frame that `box` and `crop` come from: a detection's, or one that memory drew in
    diagonal: float  # pixels, of the box; smoothed, so that it is not that of the last sliver before it was hidden
    hits: int = 1
    id: int = 0
    velocity: tuple[float, float] = (0.0, 0.0)  # pixels/s
    found: bool = True  # whether the last look found it
    visible: bool = True  # whether it is shown: found, or not found for a moment only
    announced: bool = False  # whether a frame with this id has been given out

    @classmethod
    def start(cls: type[TrackT], detection: Detection, stamp: float) -> TrackT:
        """A provisional track of an instance seen for the first time."""
        diagonal = math.hypot(*detection.box[2:])
        return cls(detection.concept, detection.score, detection.box, detection.crop, stamp, stamp, stamp, diagonal)

    @property
    def group(self) -> str:
        """No two of a group are the same thing, so they share no pixel: two cups are two, a red cup may be a cup."""
        return self.concept

    def predicted_shift(self, stamp: float) -> tuple[int, int]:
        """Whole pixels that the instance has probably moved since `detected_at`, in x and y."""
        elapsed = min(stamp - self.detected_at, HORIZON)
        return round(self.velocity[0] * elapsed), round(self.velocity[1] * elapsed)

    def predicted_box(self, stamp: float) -> Box:
        """The box where the instance probably is."""
        dx, dy = self.predicted_shift(stamp)
        x, y, width, height = self.box
        return x + dx, y + dy, width, height

    def expected_area(self, stamp: float) -> Area:
        """The same as shares 0..1 of the frame."""
        x, y, width, height = self.predicted_box(stamp)
        rows, columns = self.crop.size
        return x / columns, y / rows, (x + width) / columns, (y + height) / rows

    def predicted_crop(self, stamp: float) -> CroppedMask:
        """The mask where the instance probably is."""
        dx, dy = self.predicted_shift(stamp)
        return self.crop.shifted(dx, dy) if dx or dy else self.crop

    def see(self, detection: Detection, stamp: float) -> None:
        """Continue the track with a detection."""
        self.move(detection.box, detection.crop, stamp)
        self.score = SCORE_MEMORY * self.score + (1 - SCORE_MEMORY) * detection.score
        self.hits += 1
        self.found = self.visible = True

    def move(self, box: Box, crop: CroppedMask, stamp: float) -> None:
        """The instance is here now."""
        elapsed = stamp - self.detected_at
        small, large = sorted((self.crop.area, crop.area))
        # What is being hidden or comes out shrinks or grows: then its centre does not move as the instance does.
        if elapsed >= MIN_ELAPSED and small >= STEADY * large:
            self.velocity = self._blend_velocity(crop, elapsed)
        self.diagonal = DIAGONAL_MEMORY * self.diagonal + (1 - DIAGONAL_MEMORY) * math.hypot(*box[2:])
        self.box, self.crop = box, crop
        self.last_seen = self.detected_at = stamp

    def miss(self, stamp: float, hold: float) -> None:
        """No detection continues the track in the frame of `stamp`; it stays visible for `hold` seconds."""
        self.found = False
        self.visible = self.visible and self.id != 0 and stamp - self.detected_at <= hold

    def coast(self, stamp: float, hold: float) -> None:
        """Pass a frame in which nothing was looked for."""
        if self.found:
            self.last_seen = stamp
        else:
            self.miss(stamp, hold)

    def take_over(self, newer: LiveTrack) -> None:
        """Go on with what a younger track of the same instance has seen."""
        self.box, self.crop, self.velocity = newer.box, newer.crop, newer.velocity
        self.last_seen, self.detected_at = newer.last_seen, newer.detected_at
        self.score, self.diagonal = newer.score, newer.diagonal
        self.found, self.visible = newer.found, newer.visible
        self.hits += newer.hits

    def report(self, stamp: float) -> Track:
        """What the user is told of a confirmed track in the frame of `stamp`."""
        state: State = "occluded" if not self.visible else "tracked" if self.announced else "new"
        self.announced = True
        box = self.predicted_box(stamp) if self.visible else self.box
        crop = self.predicted_crop(stamp) if self.visible else CroppedMask.empty(self.crop.size)
        return Track(self.id, self.concept, self.score, state, box, crop, self.first_seen, self.last_seen)

    def _blend_velocity(self, crop: CroppedMask, elapsed: float) -> tuple[float, float]:
        old, new = _centre(self.crop), _centre(crop)
        measured = (new[0] - old[0]) / elapsed, (new[1] - old[1]) / elapsed
        # The second detection gives the first velocity there is: nothing to smooth it with.
        memory = VELOCITY_MEMORY if self.hits > 1 else 0.0
        return (
            memory * self.velocity[0] + (1 - memory) * measured[0],
            memory * self.velocity[1] + (1 - memory) * measured[1],
        )


def _centre(crop: CroppedMask) -> tuple[float, float]:
    x, y, width, height = crop.roi
    return x + width / 2, y + height / 2
