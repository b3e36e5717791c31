# SPDX-License-Identifier: Apache-2.0
"""What a user showed and memory lost is looked for by its look: the detector is asked for whatever is like it.

An object comes back larger, smaller or elsewhere, and memory may not believe in what it draws there. What the detector
finds alike, no visible track explains, and the lost track's memory draws at least faintly, is the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from esam3_core.runtime.association import best_pairs
from esam3_core.runtime.exemplars import Exemplar, Shown
from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.memory_match import EXPLAINED, Pair, recall_matrix
from esam3_core.runtime.memory_track import MemoryTrack
from esam3_core.runtime.track import Detection

if TYPE_CHECKING:
    from esam3_core.runtime.memory_roster import SeenFrame
    from esam3_core.runtime.student import Student

HIDDEN = 0.5  # s out of sight from which a shown object is looked for
EVERY = 0.08  # s between two looks, which cost a detector run each: every frame at 10 Hz, every third at 30 Hz
SURE = 0.6  # score from which a detection brings a shown object back
FAINT = 0.1  # of a lost track's mask: probability at the pixels of a detection from which they may be the same

Seek = Callable[[Mapping[str, Shown]], list[Detection]]
"""Detects whatever is like some looks; each detection's concept is the name of its look."""


def look_of(student: Student, frame: SeenFrame, track: MemoryTrack) -> Shown | None:
    """How a track looks in the frame on which it was shown; None if the bundle has no exemplar encoder."""
    if "exemplar_encoder" not in student.bundle.graphs:
        return None
    name = _name(track)
    return student.encode_exemplars(frame.features, {name: [Exemplar(track.box)]}, (), frame.size)[name]


def find_alike(student: Student, frame: SeenFrame, looks: Mapping[str, Shown]) -> list[Detection]:
    """What is like some looks, see `Seek`."""
    return student.detect(frame.features, student.encode_concepts(tuple(looks), looks), frame.size)


def seek_lost(tracks: Sequence[MemoryTrack], seek: Seek, stamp: float) -> list[Pair]:
    """Shown objects that are out of sight, and the detections that show where they came back."""
    lost = {_name(track): track for track in tracks if _is_due(track, stamp)}
    if not lost:
        return []
    for track in lost.values():
        track.sought_at = stamp
    found = seek({name: track.look for name, track in lost.items() if track.look})
    return _returned(lost, [track for track in tracks if track.visible], found)


def _is_due(track: MemoryTrack, stamp: float) -> bool:
    hidden = not track.visible and stamp - track.last_seen >= HIDDEN
    return hidden and track.look is not None and stamp - track.sought_at >= EVERY


def _returned(
    lost: Mapping[str, MemoryTrack], visible: Iterable[MemoryTrack], detections: Sequence[Detection]
) -> list[Pair]:
    explained = iou_matrix([track.crop for track in visible], [one.crop for one in detections]).max(axis=0, initial=0.0)
    free = [one for one, known in zip(detections, explained, strict=True) if known < EXPLAINED and one.score >= SURE]
    if not free:
        return []
    own = np.array([[one.concept == name for one in free] for name in lost])
    drawn = recall_matrix(np.stack([track.logits for track in lost.values()]), free)
    scores = np.array([one.score for one in free])
    # One thing may be like two that are lost: the likeliest pairs of all.
    return best_pairs(list(lost.values()), free, np.where(own & (drawn >= FAINT), scores + drawn, 0.0), FAINT)


def _name(track: MemoryTrack) -> str:
    return f"object {track.key}"
