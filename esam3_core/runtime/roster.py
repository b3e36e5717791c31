# SPDX-License-Identifier: Apache-2.0
"""The roster: every live track, and how tracks are born, continued, merged and forgotten."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

import numpy as np

from esam3_core.config import TrackerConfig
from esam3_core.runtime.association import associate
from esam3_core.runtime.live_track import LiveTrack
from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.track import Detection, Track

MAX_ID = 65535  # ids travel as 16 bits
logger = logging.getLogger(__name__)


class Roster:
    """Live tracks. Provisional ones have no id; an id, once given, goes to nobody else until all are spent.

    `born` and `forgotten` count confirmed tracks since the roster was made.
    """

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.born = 0
        self.forgotten = 0
        self._tracks: list[LiveTrack] = []
        self._last_id = 0

    def update(
        self,
        detections: Sequence[Detection],
        stamp: float,
        threshold: float = 0.0,
        looked_for: Collection[str] | None = None,
    ) -> list[Track]:
        """Step with the detections of the frame of `stamp`, which may be none. Confirmed tracks, sorted by id.

        Args:
            threshold: score below which a detection continues tracks only, whatever `new_score` is.
            looked_for: the concepts that were looked for, all by default; what is visible of others moves on as it
                moved.
        """
        free = self._continue_tracks(detections, stamp, looked_for)
        self._forget_unseen(stamp)
        self._start_tracks(free, stamp, max(threshold, self.config.new_score))
        self._merge_duplicates(stamp)
        self._confirm()
        return self._report(stamp)

    def keep_only(self, concepts: Collection[str]) -> None:
        """Forget the tracks of other concepts."""
        self._forget([track for track in self._tracks if track.concept not in concepts])

    def find(self, number: int) -> LiveTrack | None:
        """The live track with an id."""
        return next((track for track in self._tracks if track.id and track.id == number), None)

    def groups(self, ids: Sequence[int]) -> list[str]:
        """The groups of live tracks with these ids; see `LiveTrack.group`."""
        group = {track.id: track.group for track in self._tracks}
        return [group[number] for number in ids]

    def remove(self, track: LiveTrack) -> None:
        """Forget one track."""
        self._forget([track])

    def clear(self) -> None:
        """Forget every track; ids go on upward."""
        self._forget(list(self._tracks))

    def _continue_tracks(
        self, detections: Sequence[Detection], stamp: float, looked_for: Collection[str] | None
    ) -> list[Detection]:
        """Give each track its detection or a miss; returns the detections left over."""
        used: set[int] = set()
        for concept in {track.concept for track in self._tracks}:
            tracks = [track for track in self._tracks if track.concept == concept]
            found = [detection for detection in detections if detection.concept == concept]
            pairs = associate(tracks, found, stamp, self.config.match_iou, self.config.reach)
            for track, detection in pairs:
                track.see(detection, stamp)
            used |= {id(one) for pair in pairs for one in pair}
        for track in self._tracks:
            if looked_for is not None and track.concept not in looked_for:
                track.coast(stamp, self.config.hold)
            elif id(track) not in used:
                track.miss(stamp, self.config.hold)
        return [detection for detection in detections if id(detection) not in used]

    def _forget_unseen(self, stamp: float) -> None:
        self._forget(
            [
                track
                for track in self._tracks
                if (track.id == 0 and not track.found) or stamp - track.last_seen > self.config.max_age
            ]
        )

    def _start_tracks(self, detections: Sequence[Detection], stamp: float, new_score: float) -> None:
        good = [detection for detection in detections if detection.score >= new_score]
        good.sort(key=lambda detection: -detection.score)
        room = max(0, self.config.max_tracks - len(self._tracks))
        self._tracks += [LiveTrack.start(detection, stamp) for detection in good[:room]]

    def _merge_duplicates(self, stamp: float) -> None:
        """Two tracks of one instance become one, under the older id."""
        oldest_first = sorted(self._tracks, key=lambda track: (track.id == 0, track.id, track.first_seen))
        crops = [track.predicted_crop(stamp) for track in oldest_first]
        same = np.triu(iou_matrix(crops, crops) > self.config.merge_iou, k=1)
        gone: list[LiveTrack] = []
        for i, j in np.argwhere(same).tolist():
            older, newer = oldest_first[i], oldest_first[j]
            if older in gone or newer in gone or not newer.found or older.group != newer.group:
                continue
            # Two that were seen beside each other are two instances, however much they overlap now.
            if not older.found and newer.first_seen <= older.last_seen:
                continue
            if not older.found:
                older.take_over(newer)
            gone.append(newer)
        self._forget(gone)

    def _confirm(self) -> None:
        for track in self._tracks:
            if track.id == 0 and track.hits >= self.config.min_hits:
                track.id = self._next_id()
                self.born += 1

    def _next_id(self) -> int:
        alive = {track.id for track in self._tracks}
        if self._last_id == MAX_ID:
            logger.warning("all %d ids have been given: starting again at 1", MAX_ID)
        candidate = self._last_id % MAX_ID + 1
        while candidate in alive:
            candidate = candidate % MAX_ID + 1
        self._last_id = candidate
        return candidate

    def _forget(self, gone: Sequence[LiveTrack]) -> None:
        self.forgotten += sum(track.id != 0 for track in gone)
        leaving = {id(track) for track in gone}
        self._tracks = [track for track in self._tracks if id(track) not in leaving]

    def _report(self, stamp: float) -> list[Track]:
        confirmed = sorted((track for track in self._tracks if track.id), key=lambda track: track.id)
        return [track.report(stamp) for track in confirmed]
