# SPDX-License-Identifier: Apache-2.0
"""The roster of tracks that remember: memory looks for them in every frame, the detector now and then.

One frame: propagate, settle who is where, detect if it is due, associate, give birth, forget, memorise.
The rules stand in docs/memory.md. Starting values are SAM 3's defaults, but everything is causal: no output waits for
later frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esam3_core.config import TrackerConfig
from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.memory import MemoryBank, MemoryShape
from esam3_core.runtime.memory_engines import MemoryEngines
from esam3_core.runtime.memory_match import Pair, pair_up
from esam3_core.runtime.memory_track import MemoryTrack
from esam3_core.runtime.object_prompt import CERTAIN, mask_logits
from esam3_core.runtime.overlaps import overlap_matrix, without_overlap
from esam3_core.runtime.rivals import RIVALS, settle_rivals
from esam3_core.runtime.roster import Roster
from esam3_core.runtime.seek import Seek, seek_lost
from esam3_core.runtime.track import Detection, Track
from esam3_core.runtime.upsample import upsample_mask

RECONDITION_IOU = 0.8  # mask IoU from which a detection may correct memory (SAM 3)
RECONDITION_EVERY = 0.5  # s between corrections of one track (SAM 3: 16 frames)
TRIAL_LOOKS, TRIAL_MISSES = 15, 8  # of a track's first looks, so many misses refute it (SAM 3: hotstart)
SHRUNK = 0.3  # a mask of which others leave less is not remembered (SAM 3)


@dataclass(frozen=True)
class SeenFrame:
    """One encoded frame."""

    features: Mapping[str, Any]  # the image encoder's outputs, as arrays or handles
    size: tuple[int, int]  # H, W of the camera image, pixels
    stamp: float  # s
    level: float = 0.0  # mask logit above which a pixel is shown


class MemoryRoster(Roster):
    """Live tracks with memory. See `Roster` for ids."""

    _tracks: list[MemoryTrack]  # type: ignore[assignment]

    def __init__(self, config: TrackerConfig, engines: MemoryEngines, shape: MemoryShape) -> None:
        """Allocate the memory of `max_tracks` tracks."""
        super().__init__(config)
        self.bank = MemoryBank(shape, config.max_tracks)
        self.engines = engines
        self.looked_for: set[str] = set()  # concepts, on the last frame

    def __len__(self) -> int:
        return len(self._tracks)

    def step(
        self,
        frame: SeenFrame,
        look: Callable[[Collection[str]], list[Detection]],
        seek: Seek,
        due: Collection[str],
        threshold: float = 0.0,
    ) -> list[Track]:
        """Step over a frame.

        Args:
            look: detects some concepts.
            seek: detects what is like shown objects that memory lost.
            due: the concepts that it has to; it also detects those of a track that was lost just now, or that waits to
                be confirmed.
            threshold: score 0..1 below which a detection continues tracks only, whatever `new_score` is.
        """
        self.bank.tick()
        lost = self._propagate(frame)
        waiting = {track.concept for track in self._tracks if track.id == 0}
        self.looked_for = {*due, *lost, *waiting}
        corrected: list[MemoryTrack] = []
        if self.looked_for:
            corrected = self._compare(look(self.looked_for), frame, max(threshold, self.config.new_score))
        back = self._bring_back(seek_lost(self._tracks, seek, frame.stamp), frame)
        self._hide_doubtful(frame.stamp)
        self._forget_unseen(frame.stamp)
        self._confirm()
        self._memorise(frame, corrected, back)
        return self._report(frame.stamp)

    def keep_only(self, concepts: Any) -> None:
        """Forget the tracks of other concepts, but not those that a user showed."""
        self._forget([track for track in self._tracks if track.concept not in concepts and not track.followed])

    @property
    def confirmed(self) -> list[MemoryTrack]:
        """Tracks with an id."""
        return [track for track in self._tracks if track.id]

    @property
    def last_id(self) -> int:
        """The id that was given last."""
        return self._last_id

    def resume(self, tracks: Sequence[MemoryTrack], last_id: int) -> None:
        """Go on with tracks that have ids of their own, and whose keys are open in the bank."""
        self._tracks = list(tracks)
        self._last_id = max(self._last_id, last_id)
        self.born += len(tracks)

    def admit(self, track: MemoryTrack) -> None:
        """Take in a track that a user showed; it gets its id at once."""
        track.id = self._next_id()
        self.born += 1
        self._tracks.append(track)

    def make_room(self) -> bool:
        """Whether one more track can be remembered; for it, the one unseen for longest is forgotten if it must be."""
        if not self.bank.full:
            return True
        unseen = [track for track in self._tracks if not track.visible and not track.followed]
        self._forget(sorted(unseen, key=lambda track: track.last_seen)[:1])
        return not self.bank.full

    def remember(self, frame: SeenFrame, tracks: Sequence[MemoryTrack], anchor: bool = True) -> None:
        """Write masks that a detection or a user gave, and the pointers to them."""
        if not tracks:
            return
        logits = np.stack([track.logits for track in tracks])
        certain = np.full(len(tracks), CERTAIN, np.float32)
        latents = self.engines.memorise(frame.features, logits, certain, [True] * len(tracks))
        for track, values in zip(tracks, latents, strict=True):
            self.bank.write(track.key, values, anchor)
        pointers = self.engines.point(frame.features, self.bank, [track.key for track in tracks], logits)
        for track, pointer in zip(tracks, pointers, strict=True):
            self.bank.point(track.key, pointer, anchor)

    def _propagate(self, frame: SeenFrame) -> set[str]:
        """Let memory look for every track; the concepts of those that are lost and were visible before."""
        if not self._tracks:
            return set()
        before = [track for track in self._tracks if track.visible]
        expected = {track.key: track.expected_area(frame.stamp) for track in before if not track.restored}
        for track in self._tracks:
            if track.restored:
                track.meet(frame.size, frame.stamp)
        keys = [track.key for track in self._tracks]
        seen = self.engines.propagate(frame.features, self.bank, keys, expected=expected)
        for row, track in enumerate(self._tracks):
            track.logits, track.iou, track.pointer = seen.logits[row], float(seen.iou[row]), seen.pointers[row]
            track.objectness = float(seen.objectness[row])
            track.sighted = track.objectness > 0 and bool((track.logits > 0).any())
            track.suppressed = track.visible = False
        self._settle_duplicates(frame, {track.key for track in before})
        self._settle_masks(frame)
        return {track.concept for track in before if not track.visible and not track.followed}

    def _settle_duplicates(self, frame: SeenFrame, before: set[int]) -> None:
        """Where two tracks of one group claim one instance, one of them is wrong; `before`: who was visible."""
        oldest_first = sorted(self._tracks, key=lambda track: (track.id == 0, track.id, track.key))
        sighted = [track for track in oldest_first if track.sighted]
        if len(sighted) < 2:
            return
        likeness = np.triu(overlap_matrix(np.stack([track.logits for track in sighted])), k=1)
        are_one = likeness > self.config.merge_iou
        gone: list[MemoryTrack] = []
        for i, j in np.argwhere(are_one | (likeness > RIVALS)).tolist():
            older, newer = sighted[i], sighted[j]
            if older.group != newer.group:
                continue
            if any(one in gone or one.suppressed for one in (older, newer)):
                continue
            if newer.followed or newer.key in older.beside:
                # They were seen side by side, so they are two, and one hides the other now.
                settle_rivals(older, newer, bool(are_one[i, j]), before, frame)
            elif are_one[i, j]:
                if newer.agreed_at > older.agreed_at:
                    older.adopt(newer)
                gone.append(newer)
        self._forget(gone)

    def _settle_masks(self, frame: SeenFrame) -> None:
        """One pixel, one track of a group; what is left is what is shown."""
        shown = [track for track in self._tracks if track.sighted and not track.suppressed]
        if not shown:
            return
        logits = np.stack([track.logits for track in shown])
        cleared = without_overlap(logits, [track.group for track in shown], frame.level)
        for track, before, after in zip(shown, logits, cleared, strict=True):
            track.suppressed = int((after > frame.level).sum()) < SHRUNK * int((before > frame.level).sum())
            track.logits = after
            crop = upsample_mask(after, frame.level, frame.size)
            if crop.area:
                track.show(crop, frame.stamp)
                if track.followed:
                    track.found = True
                    track.judge(track.iou / (1 + np.exp(-track.objectness)))

    def _compare(self, detections: Sequence[Detection], frame: SeenFrame, new_score: float) -> list[MemoryTrack]:
        """Set what memory says against what the detector finds; the tracks whose mask is now a detection's."""
        ours = [track for track in self._tracks if not track.followed and track.concept in self.looked_for]
        for track in ours:
            track.found = False
        corrected: list[MemoryTrack] = []
        for concept in sorted({detection.concept for detection in detections}):
            tracks = [track for track in ours if track.concept == concept]
            found = [detection for detection in detections if detection.concept == concept]
            pairs, rest = pair_up(tracks, found, frame.stamp, self.config, new_score)
            corrected += [track for track, detection in pairs if self._agree(track, detection, frame)]
            for track, _ in pairs:
                track.beside |= {other.key for other, _ in pairs if other is not track}
            corrected += self._start([one for one in rest if one.score >= new_score], frame)
        for track in ours:
            if track.visible or track.found:
                track.looks += 1
                track.misses += not track.found
                track.refuted = not track.found and (
                    track.refuted or (track.looks <= TRIAL_LOOKS and track.misses >= TRIAL_MISSES)
                )
        return corrected

    def _agree(self, track: MemoryTrack, detection: Detection, frame: SeenFrame) -> bool:
        """A detection shows the instance of a track; whether it also corrects the track's memory."""
        sure = detection.score >= self.config.recondition_score
        lost = not track.visible
        same = not lost and float(iou_matrix([track.crop], [detection.crop])[0, 0]) >= RECONDITION_IOU
        rested = frame.stamp - track.corrected_at >= RECONDITION_EVERY
        correct = lost or (sure and (track.iou < self.config.write_iou or (same and rested)))
        track.judge(detection.score)
        track.hits += 1
        track.found, track.agreed_at = True, frame.stamp
        if correct:
            self._take(track, detection, frame)
        else:
            self._show(track, detection, frame)  # drawn for this very frame, it fits better than what memory draws
        return correct

    def _bring_back(self, pairs: Sequence[Pair], frame: SeenFrame) -> list[MemoryTrack]:
        """Shown objects that a detection found again."""
        for track, detection in pairs:
            track.found = True
            track.judge(detection.score)
            self._take(track, detection, frame)
        return [track for track, _ in pairs]

    def _show(self, track: MemoryTrack, detection: Detection, frame: SeenFrame) -> None:
        track.show(detection.crop, frame.stamp)
        track.logits = mask_logits(detection.crop, self.engines.side)

    def _take(self, track: MemoryTrack, detection: Detection, frame: SeenFrame) -> None:
        self._show(track, detection, frame)
        track.corrected_at, track.suppressed = frame.stamp, False

    def _start(self, detections: Sequence[Detection], frame: SeenFrame) -> list[MemoryTrack]:
        """Tracks for instances seen for the first time, as many as there is room for."""
        started: list[MemoryTrack] = []
        for detection in sorted(detections, key=lambda detection: -detection.score):
            if not self.make_room():
                break
            track = MemoryTrack.start(detection, frame.stamp)
            track.key, track.agreed_at = self.bank.open(), frame.stamp
            self._take(track, detection, frame)
            started.append(track)
            self._tracks.append(track)
        return started

    def _hide_doubtful(self, stamp: float) -> None:
        """What memory shows and detections refute, or do not agree with for long, is not shown until one agrees."""
        for track in self._tracks:
            doubtful = track.refuted or stamp - track.agreed_at > self.config.keep_alive
            if track.visible and not track.followed and doubtful:
                track.visible, track.last_seen = False, track.agreed_at

    def _forget_unseen(self, stamp: float) -> None:
        self._forget([track for track in self._tracks if not track.followed and self._is_over(track, stamp)])

    def _is_over(self, track: MemoryTrack, stamp: float) -> bool:
        unconfirmed = track.id == 0 and not track.found
        ages = (self.config.memory_age, self.config.keep_alive if track.refuted else math.inf)
        return unconfirmed or stamp - track.last_seen > min(ages)

    def _memorise(self, frame: SeenFrame, corrected: Sequence[MemoryTrack], back: Sequence[MemoryTrack]) -> None:
        """Remember who is visible beyond doubt."""
        alive = {track.key for track in self._tracks}
        self.remember(frame, [track for track in corrected if track.key in alive])
        self.remember(frame, back, anchor=False)  # it may be another one after all
        given = {track.key for track in (*corrected, *back)}
        sure = [track for track in self._tracks if self._may_remember(track) and track.key not in given]
        if not sure:
            return
        logits = np.stack([track.logits for track in sure])
        objectness = np.array([track.objectness for track in sure], np.float32)
        latents = self.engines.memorise(frame.features, logits, objectness, [False] * len(sure))
        for track, values in zip(sure, latents, strict=True):
            self.bank.write(track.key, values)
            self.bank.point(track.key, track.pointer)

    def _may_remember(self, track: MemoryTrack) -> bool:
        """Whether this frame is the track's turn, and what it sees is sure; tracks take turns, so frames cost alike."""
        turn = (self.bank.frame + track.key) % self.config.write_every == 0
        return turn and track.visible and not track.suppressed and track.iou >= self.config.write_iou

    def _forget(self, gone: Sequence[Any]) -> None:
        super()._forget(gone)
        keys = {track.key for track in gone}
        for key in keys:
            self.bank.close(key)
        for track in self._tracks:
            track.beside -= keys
