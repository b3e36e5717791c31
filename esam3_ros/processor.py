# SPDX-License-Identifier: Apache-2.0
"""What the worker does with one frame: admit, decode, track, publish."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from esam3_core.config import DetectorConfig, NodeConfig, TrackerConfig
from esam3_core.runtime import Exemplar, Student, Track
from esam3_ros.complaints import Complaints
from esam3_ros.conversions import BadImageError, compressed_to_rgb, image_to_rgb, seconds
from esam3_ros.gate import Gate
from esam3_ros.pairing import stamp_of
from esam3_ros.publishers import TrackPublishers
from esam3_ros.recent import Recent, RecentImages
from esam3_ros.stats import Stats, split_time


@dataclass(frozen=True)
class Frame:
    """An image message and when it came (monotonic clock, s)."""

    message: Image | CompressedImage
    arrived: float


@dataclass(frozen=True)
class Settings:
    """Everything that may change while running, in one piece: a frame sees all of it or none."""

    node: NodeConfig
    detector: DetectorConfig
    tracker: TrackerConfig


@dataclass(frozen=True)
class TrackCounts:
    """The tracks of the last frame, and births and deaths since the start."""

    alive: int = 0
    occluded: int = 0
    born: int = 0
    forgotten: int = 0
    resets: int = 0


class Processor:
    """Turns frames into published tracks. All methods but `settings` belong to the worker thread."""

    def __init__(
        self,
        student: Student,
        settings: Settings,
        publishers: TrackPublishers,
        stats: Stats,
        complaints: Complaints,
        now: Callable[[], float],
    ) -> None:
        """`now` gives the node's clock in seconds."""
        self.settings = settings
        self.tracks = TrackCounts()
        self._student = student
        self._tracker = student.track(config=settings.tracker)
        self._publishers = publishers
        self._stats = stats
        self._complaints = complaints
        self._now = now
        self._gate = Gate()
        self._recent = RecentImages()
        self._version = 0

    def work(self, frame: Frame) -> None:
        """Process one frame; a bad one is counted and reported, and costs nothing else."""
        settings = self.settings
        waited = time.monotonic() - frame.arrived
        stamp = seconds(frame.message.header.stamp)
        admission = self._gate.admit(stamp, self._now(), waited, settings.node)
        if stamp and not admission.same_clock:  # an image without a stamp is of no clock
            self._warn(
                f"image stamps differ from this node's clock by {self._now() - admission.stamp:.0f} s, so ages count "
                "from the arrival: for a bag, play it with --clock and set use_sim_time:=true"
            )
        if admission.refused:
            self._refuse(admission.refused, settings)
            return
        started = time.perf_counter()
        try:
            picture = _decode(frame.message)
        except BadImageError as error:
            self._stats.failed("bad", str(error))
            self._complaints.error(str(error))
            return
        decoded = time.perf_counter()
        tracks = self._step(picture, admission.stamp, settings)
        self._recent.add(stamp_of(frame.message), admission.stamp, picture)
        tracked = time.perf_counter()
        header, look_back = frame.message.header, settings.tracker.keep_alive
        self._publishers.publish(header, picture.shape[:2], tracks, self._version, look_back)
        ended = time.perf_counter()
        stages = {
            "decode": (decoded - started) * 1e3,
            **self._student.timings,
            "publish": (ended - tracked) * 1e3,
        }
        age = self._now() - admission.stamp if admission.same_clock else time.monotonic() - frame.arrived
        self._stats.published(age, split_time(stages, (ended - started) * 1e3))

    def failed(self, error: Exception) -> None:
        """Report what `work` or an order raised; the worker goes on."""
        where = "".join(traceback.format_exception(error))
        self._stats.failed("failed", f"{type(error).__name__}: {error}")
        self._complaints.error(f"a frame failed, the next one will be tried:\n{where}")

    def set_concepts(self, concepts: tuple[str, ...], version: int, keep_tracks: bool) -> None:
        """Search for other concepts from the next frame on.

        Raises:
            ConceptError: a concept is not valid; nothing changes.
        """
        self._tracker.concepts = concepts
        if not keep_tracks:
            self.forget("the concepts changed without keep_tracks")
        self._version = version
        self._publishers.publish_concepts(version, self._tracker.concepts)

    def search(self, action: Callable[[], Iterable[str]], version: int) -> tuple[str, ...]:
        """Let `action` change what is searched for from the next frame on; the concepts it led to.

        Raises:
            Esam3Error: what `action` raises; nothing changes.
        """
        concepts = tuple(action())
        self._version = version
        self._publishers.publish_concepts(version, concepts)
        return concepts

    def image(self, stamp: Any) -> Recent:
        """A processed image by its stamp; see `RecentImages.find`."""
        return self._recent.find(stamp)

    def add_exemplars(self, stamp: Any, exemplars: Sequence[Exemplar]) -> tuple[list[str], list[str]]:
        """Show concepts on an image: those shown, and all that are searched for. See `Tracker.add_exemplars`."""
        shown = self._tracker.add_exemplars(self.image(stamp).picture, exemplars)
        return shown, self._tracker.concepts

    def add_object(self, image: Recent, box: Any, points: Sequence[Any], mask: Any, concept: str) -> int:
        """Follow one object; its id. See `Tracker.add`."""
        return self._tracker.add(image.picture, image.stamp, box, points, mask, concept).id

    def remove_object(self, number: int) -> None:
        """Forget one track; see `Tracker.remove`."""
        self._tracker.remove(number)

    def save(self, path: Path) -> int:
        """Save what is remembered; how many tracks."""
        return self._tracker.save(path)

    def load(self, path: Path) -> tuple[int, list[str]]:
        """Load what was remembered: how many tracks, and what is searched for now."""
        return self._tracker.load(path), self._tracker.concepts

    def forget(self, reason: str) -> int:
        """Forget all tracks; returns how many there were. Images stay at hand: one may show something on them."""
        count = self.tracks.alive
        self._tracker.reset(reason)
        self._gate.forget()
        self._count([])
        return count

    def end_stream(self, reason: str) -> None:
        """Forget all tracks and images: whatever comes next may be of another time and place."""
        self.forget(reason)
        self._recent.clear()

    def _step(self, picture: Any, stamp: float, settings: Settings) -> list[Track]:
        # Identity tells whether settings were swapped: nobody changes them in place.
        if self._student.detector is not settings.detector:
            self._student.detector = settings.detector
        if self._tracker.config is not settings.tracker:
            self._tracker.config = settings.tracker
        resets = self._tracker.resets
        tracks = self._tracker.step(picture, stamp)
        if self._tracker.resets > resets:  # the core has logged it
            self._stats.warned(f"all tracks forgotten: {self._tracker.last_reset}")
        self._count(tracks)
        return tracks

    def _warn(self, text: str) -> None:
        self._stats.warned(text)
        self._complaints.warn(text)

    def _count(self, tracks: list[Track]) -> None:
        occluded = sum(track.state == "occluded" for track in tracks)
        tracker = self._tracker
        self.tracks = TrackCounts(len(tracks), occluded, tracker.born, tracker.forgotten, tracker.resets)

    def _refuse(self, why: str, settings: Settings) -> None:
        self._stats.count(why)
        if why == "stale":
            self._warn(
                f"frames are dropped because they are older than max_frame_age ({settings.node.max_frame_age:g} s): "
                "find what delays them, or set max_frame_age:=0; a bag wants --clock and use_sim_time:=true"
            )


def _decode(message: Image | CompressedImage) -> Any:
    return compressed_to_rgb(message) if isinstance(message, CompressedImage) else image_to_rgb(message)
