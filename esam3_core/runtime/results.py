# SPDX-License-Identifier: Apache-2.0
"""Results as plain JSON values: the format of `esam3 track --jsonl` and `esam3 segment --json`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from esam3_core.runtime.masks import encode_rle
from esam3_core.runtime.track import Box, Detection, Track


def frame_record(index: int, stamp: float, tracks: Sequence[Track]) -> dict[str, Any]:
    """One frame of a video: its index, stamp in seconds and tracks; boxes are [x, y, width, height] in pixels."""
    return {"frame": index, "stamp": stamp, "tracks": [_track_record(track) for track in tracks]}


def image_record(name: str, size: tuple[int, int], detections: Sequence[Detection]) -> dict[str, Any]:
    """One image of `size` (H, W) and what was found in it."""
    return {"image": name, "size": list(size), "detections": [_detection_record(one) for one in detections]}


def _track_record(track: Track) -> dict[str, Any]:
    return {
        "id": track.id,
        "concept": track.concept,
        "score": round(track.score, 4),
        "state": track.state,
        "box": _box_record(track.box),
        "rle": encode_rle(track.crop),
    }


def _detection_record(detection: Detection) -> dict[str, Any]:
    return {
        "concept": detection.concept,
        "score": round(detection.score, 4),
        "box": _box_record(detection.box),
        "rle": encode_rle(detection.crop),
    }


def _box_record(box: Box) -> list[float]:
    return [round(side, 2) for side in box]
