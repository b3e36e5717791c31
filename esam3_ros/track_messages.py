# SPDX-License-Identifier: Apache-2.0
"""TrackArray messages back to the tracks of the core, for those who draw or score them."""

from __future__ import annotations

from typing import Any

from esam3_core.runtime import Track
from esam3_core.runtime.track import State
from esam3_ros import masks
from esam3_ros.conversions import seconds
from esam3_ros.msg import Track as TrackMessage

STATES: dict[int, State] = {
    TrackMessage.NEW: "new",
    TrackMessage.TRACKED: "tracked",
    TrackMessage.OCCLUDED: "occluded",
}


def read_tracks(message: Any) -> list[Track]:
    """The tracks of a TrackArray. The box is the mask's tight box (or where an occluded track was last).

    Raises:
        ValueError: a mask does not fit its roi, or leaves the image.
    """
    return [_read(track, message.height, message.width) for track in message.tracks]


def _read(track: Any, height: int, width: int) -> Track:
    roi = track.mask.roi
    return Track(
        id=track.id,
        concept=track.concept,
        score=track.score,
        state=STATES[track.state],
        box=(float(roi.x_offset), float(roi.y_offset), float(roi.width), float(roi.height)),
        crop=masks.crop_of(track.mask, height, width),
        first_seen=seconds(track.first_seen),
        last_seen=seconds(track.last_seen),
    )
