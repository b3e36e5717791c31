# SPDX-License-Identifier: Apache-2.0
"""Which detection continues which track."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.assignment import assign
from esam3_core.runtime.live_track import LiveTrack, TrackT
from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.track import Box, Detection

SIZE_RATIO = 0.4  # of two box diagonals: an instance may be half hidden, but not become another size
Point = tuple[float, float]


def associate(
    tracks: Sequence[TrackT], detections: Sequence[Detection], stamp: float, match_iou: float, reach: float
) -> list[tuple[TrackT, Detection]]:
    """Pairs of tracks and detections of one concept that show the same instance.

    First those whose masks overlap, where the track is now or where it was last seen; then, among the rest, those
    that are near each other: an instance that moved fast, or comes out from behind something.

    Args:
        match_iou: mask IoU from which a pair overlaps.
        reach: distance of the centres, in box diagonals of the track, up to which a pair is near; 0 = never.
    """
    overlapping = best_pairs(tracks, detections, _overlaps(tracks, detections, stamp), match_iou)
    used = {id(one) for pair in overlapping for one in pair}
    tracks = [track for track in tracks if id(track) not in used]
    detections = [detection for detection in detections if id(detection) not in used]
    if not reach:
        return overlapping
    return overlapping + best_pairs(tracks, detections, _nearness(tracks, detections, stamp, reach), 1e-9)


def best_pairs(
    tracks: Sequence[TrackT], detections: Sequence[Detection], likeness: NDArray[np.float64], least: float
) -> list[tuple[TrackT, Detection]]:
    """The pairs of greatest total likeness [tracks, detections], none below `least`."""
    allowed = np.where(likeness >= least, likeness, 0.0)
    return [(tracks[i], detections[j]) for i, j in assign(allowed)]


def _overlaps(tracks: Sequence[LiveTrack], detections: Sequence[Detection], stamp: float) -> NDArray[np.float64]:
    found = [detection.crop for detection in detections]
    last = [track.crop for track in tracks]
    now = [track.predicted_crop(stamp) for track in tracks]
    ious = iou_matrix(now + last, found)  # [2 T, D]
    return np.maximum(ious[: len(tracks)], ious[len(tracks) :])


def _nearness(
    tracks: Sequence[LiveTrack], detections: Sequence[Detection], stamp: float, reach: float
) -> NDArray[np.float64]:
    """1 at the same place, 0 at `reach` and beyond; 0 where the sizes differ too much."""
    near = np.zeros((len(tracks), len(detections)))
    for i, track in enumerate(tracks):
        path = _centre(track.box), _centre(track.predicted_box(stamp))
        for j, detection in enumerate(detections):
            if _sizes_agree(track, math.hypot(*detection.box[2:])):
                near[i, j] = 1 - _distance_to(path, _centre(detection.box)) / (reach * track.diagonal)
    return np.maximum(near, 0.0)


def _sizes_agree(track: LiveTrack, diagonal: float) -> bool:
    # What comes out from behind something shows only a sliver at first.
    small_enough = diagonal * SIZE_RATIO <= track.diagonal
    large_enough = not track.found or diagonal >= SIZE_RATIO * track.diagonal
    return track.diagonal > 0 and small_enough and large_enough


def _distance_to(path: tuple[Point, Point], point: Point) -> float:
    """Distance in pixels to the way a track may have gone: from where it was seen to where it would be by now."""
    (x, y), (end_x, end_y) = path
    dx, dy = end_x - x, end_y - y
    length = dx * dx + dy * dy
    along = 0.0 if length == 0 else min(max(((point[0] - x) * dx + (point[1] - y) * dy) / length, 0.0), 1.0)
    return math.hypot(point[0] - x - along * dx, point[1] - y - along * dy)


def _centre(box: Box) -> Point:
    return box[0] + box[2] / 2, box[1] + box[3] / 2
