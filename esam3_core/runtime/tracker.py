# SPDX-License-Identifier: Apache-2.0
"""The tracker: images in, tracks out, one call per frame."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from esam3_core.config import TrackerConfig
from esam3_core.runtime.errors import ConceptError, ImageError
from esam3_core.runtime.preprocess import Image, check_image
from esam3_core.runtime.roster import Roster
from esam3_core.runtime.text import Prompt, normalise_all
from esam3_core.runtime.track import Track

if TYPE_CHECKING:
    from esam3_core.runtime.student import Student

logger = logging.getLogger(__name__)


class Tracker:
    """Follows every instance of its concepts through the frames of one camera.

    Step it on every processed frame. Ages count in seconds of image time, so a slow or paused stream does no harm.

    Attributes:
        concept_version: counts up each time `concepts` is set; 1 after construction.
        resets: how often all tracks were forgotten because the stream started anew, or on request.
        last_reset: why, in a sentence; empty if never.
    """

    def __init__(self, student: Student, concepts: Iterable[str], config: TrackerConfig) -> None:
        """See `Student.track`."""
        self.concept_version = 0
        self.resets = 0
        self.last_reset = ""
        self._student = student
        self._roster = Roster(config)
        self._lock = threading.Lock()
        self._prompt: Prompt | None = None
        self._last_stamp = -math.inf
        self._last_size: tuple[int, int] | None = None
        self._until_detection = 0  # frames
        self.concepts = concepts

    @property
    def concepts(self) -> list[str]:
        """What is looked for. Set it at any time: tracks of concepts that stay keep their ids, others are forgotten.

        Setting encodes the text at once and raises ConceptError if a concept is not valid or there are more than
        `max_concepts`; then nothing changes. An empty list makes the tracker idle.
        """
        return list(self._prompt.concepts) if self._prompt else []

    @concepts.setter
    def concepts(self, concepts: Iterable[str]) -> None:
        names = normalise_all(concepts)
        limit = self._student.config.max_concepts
        if len(names) > limit:
            raise ConceptError(f"{len(names)} concepts, at most {limit} at once: give fewer, or raise max_concepts")
        prompt = self._student.encode_concepts(names) if names else None
        with self._lock:
            self._prompt = prompt
            self._roster.keep_only(names)
            self._until_detection = 0
            self.concept_version += 1

    @property
    def config(self) -> TrackerConfig:
        """The settings in use; set another at any time, the next frame uses it."""
        return self._roster.config

    @config.setter
    def config(self, config: TrackerConfig) -> None:
        with self._lock:
            self._roster.config = config
            self._until_detection = min(self._until_detection, config.detect_every - 1)

    @property
    def born(self) -> int:
        """Tracks that were given an id so far."""
        return self._roster.born

    @property
    def forgotten(self) -> int:
        """Tracks with an id that were forgotten so far."""
        return self._roster.forgotten

    @property
    def timings(self) -> dict[str, float]:
        """Stage -> ms of the last frame."""
        return self._student.timings

    def step(self, image: Image, stamp: float) -> list[Track]:
        """Process one frame.

        Args:
            image: uint8 RGB [H, W, 3].
            stamp: s, when the image was taken. A stamp earlier than the last one (a bag that loops) or another image
                size resets the tracker; see `resets`.

        Returns:
            Confirmed tracks, sorted by id; those not seen in this frame are "occluded".

        Raises:
            ImageError: `image` is something else, or `stamp` is not a number.
        """
        check_image(image)
        if not math.isfinite(stamp):
            raise ImageError(f"the stamp of the image is {stamp}: give the seconds at which it was taken")
        with self._lock:
            self._student.stages.start_frame()
            self._notice_new_stream(stamp, image.shape[:2])
            if self._prompt is None:
                return []
            if self._until_detection > 0:
                self._until_detection -= 1
                with self._student.stages.measure("associate"):
                    return self._roster.coast(stamp)
            self._until_detection = self.config.detect_every - 1
            detections = self._student.detect(image, self._prompt)
            with self._student.stages.measure("associate"):
                return self._roster.update(detections, stamp)

    def reset(self, reason: str = "on request") -> None:
        """Forget all tracks; ids go on upward."""
        with self._lock:
            self._reset(reason)

    def _reset(self, reason: str) -> None:
        self._roster.clear()
        self._last_stamp = -math.inf
        self._until_detection = 0
        self.resets += 1
        self.last_reset = reason
        logger.warning("tracker reset, all tracks forgotten: %s", reason)

    def _notice_new_stream(self, stamp: float, size: tuple[int, int]) -> None:
        if stamp < self._last_stamp:
            self._reset(f"the stamp went back from {self._last_stamp:.3f} to {stamp:.3f} s, as when a bag loops")
        elif self._last_size not in (None, size):
            self._reset(f"the image size changed from {self._last_size} to {size} (height, width)")
        self._last_stamp, self._last_size = stamp, size
