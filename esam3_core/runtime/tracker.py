# SPDX-License-Identifier: Apache-2.0
"""The tracker: images in, tracks out, one call per frame."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esam3_core.config import TrackerConfig
from esam3_core.runtime.errors import Esam3Error, ImageError, PromptError
from esam3_core.runtime.exemplars import Exemplar
from esam3_core.runtime.follow import follow
from esam3_core.runtime.memory_file import SavedMemory, read_memory, write_memory
from esam3_core.runtime.memory_roster import MemoryRoster, SeenFrame
from esam3_core.runtime.memory_track import mask_box
from esam3_core.runtime.overlaps import settled
from esam3_core.runtime.preprocess import Image, check_image
from esam3_core.runtime.rosters import make_roster, wants_memory
from esam3_core.runtime.search import Search, search
from esam3_core.runtime.seek import find_alike, look_of
from esam3_core.runtime.track import Box, Detection, Track
from esam3_core.runtime.turns import Turns
from esam3_core.runtime.upsample import to_logit

if TYPE_CHECKING:
    from esam3_core.runtime.student import Student

logger = logging.getLogger(__name__)


class Tracker:
    """Follows every instance of its concepts, and every object that it is shown, through the frames of one camera.

    Step it on every processed frame. Ages count in seconds of image time, so a slow or paused stream does no harm.

    Attributes:
        concept_version: counts up each time `concepts` or their exemplars change; 1 after construction.
        resets: how often all tracks were forgotten because the stream started anew, or on request.
        last_reset: why, in a sentence; empty if never.
    """

    def __init__(self, student: Student, concepts: Iterable[str], config: TrackerConfig) -> None:
        """See `Student.track`."""
        self.concept_version = 0
        self.resets = 0
        self.last_reset = ""
        self._student = student
        self._roster = make_roster(student, config)
        self._lock = threading.Lock()
        self._search = Search()
        self._last_stamp = -math.inf
        self._last_size: tuple[int, int] | None = None
        self._turns = Turns()
        self.concepts = concepts

    @property
    def concepts(self) -> list[str]:
        """What is looked for. Set it at any time: tracks of concepts that stay keep their ids, others are forgotten.

        Setting encodes the text at once and raises ConceptError if a concept is not valid or there are more than
        `max_concepts`; then nothing changes. An empty list makes the tracker idle, but for objects that it was shown.
        """
        return list(self._search.concepts)

    @concepts.setter
    def concepts(self, concepts: Iterable[str]) -> None:
        self._look_for(search(self._student, concepts, self._search.shown))

    @property
    def config(self) -> TrackerConfig:
        """The settings in use; set another at any time, the next frame uses it. `tracker` stays, and so does
        `max_tracks` where tracks have a memory, which is allocated once."""
        return self._roster.config

    @config.setter
    def config(self, config: TrackerConfig) -> None:
        self._check_fixed(config)
        with self._lock:
            self._roster.config = config

    @property
    def has_memory(self) -> bool:
        """Whether tracks remember; else detections are linked."""
        return isinstance(self._roster, MemoryRoster)

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
            Tracks with an id, sorted by it; those not seen in this frame are "occluded".

        Raises:
            ImageError: `image` is something else, or `stamp` is not a number.
        """
        _check_frame(image, stamp)
        with self._lock:
            self._student.stages.start_frame()
            self._notice_new_stream(stamp, image.shape[:2])
            if isinstance(self._roster, MemoryRoster):
                return self._refined(image, self._remember(self._roster, image, stamp))
            return self._refined(image, self._link(image, stamp))

    def add(
        self,
        image: Image,
        stamp: float,
        box: Box | None = None,
        points: Iterable[Sequence[float]] = (),
        mask: Any = None,
        concept: str = "",
    ) -> Track:
        """Follow exactly one object, from the frame on which it is shown, until `remove`.

        Args:
            image: uint8 RGB [H, W, 3]: the frame that was or will be stepped, or a slightly older one.
            stamp: s, when it was taken.
            box: x, y, width, height in pixels.
            points: (x, y, 1) on the object and (x, y, 0) beside it, in pixels; with a box or without.
            mask: bool [H, W], instead of box and points.
            concept: what the track shall be called; nothing is searched for by this name.

        Raises:
            BundleError: this tracker has no memory; the message says what to do.
            PromptError: what is shown cannot be on the frame, or no object is seen there. Nothing changes.
            ImageError: see `step`.
        """
        _check_frame(image, stamp)
        roster = self._with_memory()
        with self._lock:
            frame = self._see(image, stamp)
            track = follow(roster, frame, box, points, mask, concept)
            track.look = look_of(self._student, frame, track)
            report = track.report(stamp)
            track.announced = False  # the next frame is the first that carries the id
            return report if mask is not None else self._refined(image, [report])[0]

    def remove(self, number: int) -> None:
        """Forget the track with the id `number`; a concept's instance may be found again, as a new one.

        Raises:
            PromptError: no live track has it.
        """
        roster = self._roster
        with self._lock:
            track = roster.find(number)
            if track is None:
                raise PromptError(f"no track has the id {number}: it was forgotten, or never was")
            roster.remove(track)

    def add_exemplars(self, image: Image, exemplars: Iterable[Exemplar]) -> list[str]:
        """Show concepts by boxes on an image: everything alike is found and followed from the next frame on.

        New exemplars of a concept replace its former ones. A concept that is not searched for yet is added.

        Returns:
            The concepts that were shown; one without a name is called "exemplar".

        Raises:
            ConceptError, PromptError, BundleError: see `Student.segment`. Nothing changes.
        """
        check_image(image)
        with self._lock:
            wanted = self._search.with_exemplars(self._student, image, exemplars)
        before = self._search.shown
        self._look_for(wanted)
        return [name for name, shown in wanted.shown.items() if before.get(name) is not shown]

    def save(self, path: str | Path) -> int:
        """Write what is remembered into a file, to be loaded after a restart or by another camera.

        Returns:
            How many tracks were written.

        Raises:
            BundleError: this tracker has no memory.
            MemoryFileError: the file cannot be written; one that was there before is unharmed.
        """
        roster = self._with_memory()
        with self._lock:
            saved = SavedMemory.of(roster, self._search, self._student.bundle)
        write_memory(Path(path), saved)
        return len(saved.tracks)

    def load(self, path: str | Path) -> int:
        """Go on with what a file remembers: its concepts, its tracks and their ids. What was followed is forgotten.

        Returns:
            How many tracks were loaded; they are "occluded" until a frame shows them.

        Raises:
            BundleError: this tracker has no memory.
            MemoryFileError: the file is missing, damaged, of another bundle, or does not fit. Nothing changes.
        """
        roster = self._with_memory()
        saved = read_memory(Path(path), self._student.bundle)
        wanted = search(self._student, saved.concepts, saved.shown)
        with self._lock:
            saved.restore(roster)
            self._last_stamp, self._last_size = -math.inf, None
        self._look_for(wanted)
        return len(saved.tracks)

    def reset(self, reason: str = "on request") -> None:
        """Forget all tracks; ids go on upward."""
        with self._lock:
            self._reset(reason)

    def _link(self, image: Image, stamp: float) -> list[Track]:
        """A frame without memory: detections are linked."""
        concepts = self._search.concepts
        if not concepts:
            return []
        due = self._turns.due(concepts, self.config.detect_every)
        self._turns.next_frame(concepts, due)
        detections = self._detect(self._see(image, stamp), due) if due else []
        with self._student.stages.measure("associate"):
            return self._roster.update(detections, stamp, self._student.detector.score_threshold, due)

    def _remember(self, roster: MemoryRoster, image: Image, stamp: float) -> list[Track]:
        """A frame with memory."""
        concepts = self._search.concepts
        if not concepts and not len(roster):
            return []
        frame = self._see(image, stamp)
        due = self._turns.due(concepts, self.config.detect_every)
        threshold = self._student.detector.score_threshold
        look, seek = partial(self._detect, frame), partial(find_alike, self._student, frame)
        tracks = roster.step(frame, look, seek, due, threshold)
        self._turns.next_frame(concepts, roster.looked_for)
        return tracks

    def _refined(self, image: Image, tracks: list[Track]) -> list[Track]:
        """Tracks with the masks that are shown; a box that is its mask's stays so."""
        drawn = [track.crop for track in tracks]
        crops = settled(drawn, self._student.refine(image, drawn), self._roster.groups([track.id for track in tracks]))
        refined = [replace(track, crop=crop) for track, crop in zip(tracks, crops, strict=True)]
        if not self.has_memory:
            return refined
        return [replace(track, box=mask_box(track.crop)) if track.crop.area else track for track in refined]

    def _detect(self, frame: SeenFrame, concepts: Collection[str]) -> list[Detection]:
        """Detections of some of what is searched for, at least one."""
        prompt = self._search.prompt
        assert prompt is not None  # there are concepts
        return self._student.detect(frame.features, prompt.only(concepts), frame.size, self.config.keep_share)

    def _see(self, image: Image, stamp: float) -> SeenFrame:
        level = to_logit(self._student.detector.mask_threshold)
        return SeenFrame(self._student.encode_image(image), image.shape[:2], stamp, level)

    def _look_for(self, wanted: Search) -> None:
        with self._lock:
            self._search = wanted
            self._roster.keep_only(wanted.concepts)
            self._turns.restart()
            self.concept_version += 1

    def _with_memory(self) -> MemoryRoster:
        if isinstance(self._roster, MemoryRoster):
            return self._roster
        self._student.bundle.graph("propagator")  # says what to do if there is none
        raise Esam3Error("this tracker links detections and has no memory: choose the tracker memory")

    def _check_fixed(self, config: TrackerConfig) -> None:
        old = self.config
        if config.tracker != old.tracker and wants_memory(self._student, config) != self.has_memory:
            raise ValueError(f"a tracker cannot change from {old.tracker} to {config.tracker}: make another one")
        if self.has_memory and config.max_tracks != old.max_tracks:
            raise ValueError(f"the memory of {old.max_tracks} tracks is allocated: make another tracker for more")

    def _reset(self, reason: str) -> None:
        self._roster.clear()
        self._last_stamp = -math.inf
        self._turns.restart()
        self.resets += 1
        self.last_reset = reason
        logger.warning("tracker reset, all tracks forgotten: %s", reason)

    def _notice_new_stream(self, stamp: float, size: tuple[int, int]) -> None:
        if stamp < self._last_stamp:
            self._reset(f"the stamp went back from {self._last_stamp:.3f} to {stamp:.3f} s, as when a bag loops")
        elif self._last_size not in (None, size):
            self._reset(f"the image size changed from {self._last_size} to {size} (height, width)")
        self._last_stamp, self._last_size = stamp, size


def _check_frame(image: Image, stamp: float) -> None:
    check_image(image)
    if not math.isfinite(stamp):
        raise ImageError(f"the stamp of the image is {stamp}: give the seconds at which it was taken")
