# SPDX-License-Identifier: Apache-2.0
"""Which detection shows which track that remembers: where it is, where it was a moment ago, or what memory says of it.

Propagation alone may miss an object that comes back: it is smaller now, or elsewhere, and memory is not sure. A
detector that finds something of the concept asks an easier question: does the memory of a lost track draw this very
thing, if only faintly? Then the track has its id back, and nothing new is born.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.config import TrackerConfig
from esam3_core.runtime.association import associate, best_pairs
from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.memory_track import MemoryTrack
from esam3_core.runtime.object_prompt import CERTAIN, mask_logits
from esam3_core.runtime.track import Detection

EXPLAINED = 0.1  # mask IoU with a visible track from which a detection starts no new one (SAM 3)
RECALLED = 0.25  # of a lost track's mask: probability at the pixels of a detection from which they are the same
Pair = tuple[MemoryTrack, Detection]
Claim = tuple[MemoryTrack | None, Detection]
"""A detection, and the track without an id that it would continue."""


def pair_up(
    tracks: Sequence[MemoryTrack],
    detections: Sequence[Detection],
    stamp: float,
    config: TrackerConfig,
    new_score: float,
) -> tuple[list[Pair], list[Detection]]:
    """Tracks and detections of one concept that show the same instance, and the detections that nothing explains.

    A track without an id gives its detection to a lost track that recalls it: who was here before comes first. A
    detection below `new_score` brings nobody back from afar.
    """
    visible = [track for track in tracks if track.visible]
    likeness = iou_matrix([track.crop for track in visible], [detection.crop for detection in detections])
    pairs = best_pairs(visible, detections, likeness, config.match_iou)
    taken = {id(detection) for _, detection in pairs}
    explained = likeness.max(axis=0, initial=0.0) >= EXPLAINED
    rest = [one for one, known in zip(detections, explained, strict=True) if not known and id(one) not in taken]
    # What memory lost a moment ago is where it was, or near it.
    recent = [track for track in tracks if not track.visible and stamp - track.last_seen <= config.max_age]
    near = associate(recent, rest, stamp, config.match_iou, config.reach)
    pairs += near
    rest = _without(rest, near)
    found = {track.key for track, _ in pairs}
    lost = [track for track in tracks if not track.visible and track.key not in found]
    claims: list[Claim] = [(None, one) for one in rest] + [pair for pair in pairs if pair[0].id == 0]
    back = recalled(lost, [claim for claim in claims if claim[1].score >= new_score])
    given = {id(detection) for _, detection in back}
    return [pair for pair in pairs if id(pair[1]) not in given] + back, _without(rest, back)


def recalled(lost: Sequence[MemoryTrack], claims: Sequence[Claim]) -> list[Pair]:
    """Lost tracks whose memory draws what a detector found."""
    if not lost or not claims:
        return []
    detections = [detection for _, detection in claims]
    likeness = recall_matrix(np.stack([track.logits for track in lost]), detections)
    # Two that were seen at the same time are two.
    apart = [[owner is not None and track.last_seen >= owner.first_seen for owner, _ in claims] for track in lost]
    return best_pairs(lost, detections, np.where(apart, 0.0, likeness), RECALLED)


def recall_matrix(logits: NDArray[Any], detections: Sequence[Detection]) -> NDArray[np.float64]:
    """How much each mask [T, h, w] is drawn at the pixels of each detection: probability [T, D] of the mean logit."""
    certain = np.stack([mask_logits(detection.crop, logits.shape[-1]) for detection in detections])
    inside = (certain / CERTAIN + 1) / 2  # [D, h, w], share of each cell
    means = np.einsum("thw,dhw->td", logits.astype(np.float64), inside) / inside.sum(axis=(1, 2))
    return np.asarray(1 / (1 + np.exp(-means)))


def _without(detections: list[Detection], pairs: Sequence[Pair]) -> list[Detection]:
    taken = {id(detection) for _, detection in pairs}
    return [one for one in detections if id(one) not in taken]
