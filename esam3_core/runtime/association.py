# SPDX-License-Identifier: Apache-2.0
"""Which detection continues which track."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from esam3_core.runtime.live_track import LiveTrack
from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.track import Box, Detection

SIZE_RATIO = 0.4  # of two box diagonals: an instance seen again may be half hidden, not another size
Pair = tuple[LiveTrack, Detection]


def associate(
    tracks: Sequence[LiveTrack], detections: Sequence[Detection], stamp: float, match_iou: float, reach: float
) -> list[Pair]:
    """Pairs of tracks and detections of one concept that show the same instance.

    First those whose masks overlap, where the track is now or where it was last seen; then, among the rest, those
    that are near each other: an instance that moved fast, or comes out from behind something.

    Args:
        match_iou: mask IoU from which a pair overlaps.
        reach: distance of the centres, in mean box diagonals, up to which a pair is near; 0 = never.
    """
    overlapping = _assign(tracks, detections, _overlaps(tracks, detections, stamp), match_iou)
    used = {id(one) for pair in overlapping for one in pair}
    tracks = [track for track in tracks if id(track) not in used]
    detections = [detection for detection in detections if id(detection) not in used]
    if not reach:
        return overlapping
    return overlapping + _assign(tracks, detections, _nearness(tracks, detections, stamp, reach), 1e-9)


def _assign(
    tracks: Sequence[LiveTrack], detections: Sequence[Detection], likeness: NDArray[np.float64], least: float
) -> list[Pair]:
    """The pairs of greatest total likeness, none below `least`."""
    if likeness.size == 0:
        return []
    allowed = np.where(likeness >= least, likeness, 0.0)
    rows, columns = linear_sum_assignment(allowed, maximize=True)
    return [(tracks[i], detections[j]) for i, j in zip(rows, columns, strict=True) if allowed[i, j] > 0]


def _overlaps(tracks: Sequence[LiveTrack], detections: Sequence[Detection], stamp: float) -> NDArray[np.float64]:
    found = [detection.crop for detection in detections]
    last = [track.crop for track in tracks]
    now = [track.predicted_crop(stamp) for track in tracks]
    return np.maximum(iou_matrix(now, found), iou_matrix(last, found))


def _nearness(
    tracks: Sequence[LiveTrack], detections: Sequence[Detection], stamp: float, reach: float
) -> NDArray[np.float64]:
    """1 at the same place, 0 at `reach` and beyond; 0 where the sizes differ too much."""
    near = np.zeros((len(tracks), len(detections)))
    for i, track in enumerate(tracks):
        expected = track.predicted_box(stamp)
        for j, detection in enumerate(detections):
            near[i, j] = 1 - _distance(expected, detection.box) / reach
    return np.maximum(near, 0.0)


def _distance(a: Box, b: Box) -> float:
    """Distance of the centres in mean diagonals; infinite where the sizes differ too much."""
    small, large = sorted((math.hypot(a[2], a[3]), math.hypot(b[2], b[3])))
    if large == 0 or small < SIZE_RATIO * large:
        return math.inf
    dx, dy = a[0] - b[0] + (a[2] - b[2]) / 2, a[1] - b[1] + (a[3] - b[3]) / 2
    return 2 * math.hypot(dx, dy) / (small + large)
