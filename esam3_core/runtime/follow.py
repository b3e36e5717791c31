# SPDX-License-Identifier: Apache-2.0
"""Following exactly the one object that a user shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from esam3_core.runtime.errors import PromptError
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.memory_roster import MemoryRoster, SeenFrame
from esam3_core.runtime.memory_track import MemoryTrack, mask_box
from esam3_core.runtime.object_prompt import check_mask, mask_logits, object_prompt
from esam3_core.runtime.track import Box
from esam3_core.runtime.upsample import upsample_mask


def follow(
    roster: MemoryRoster,
    frame: SeenFrame,
    box: Box | None,
    points: Iterable[Sequence[float]],
    mask: Any,
    concept: str,
) -> MemoryTrack:
    """A new track of the object that a box, points or a mask show on a frame.

    Raises:
        PromptError: nothing is shown, both a mask and something else are, it does not fit the frame, the student sees
            no object there, or every track is taken. Nothing changes.
    """
    points = list(points)
    if mask is not None and (box is not None or points):
        raise PromptError("a mask says it all: give either a mask, or a box and points")
    given = check_mask(mask, frame.size) if mask is not None else None
    prompt = None if given else object_prompt(box, points, frame.size, roster.engines.points)
    if not roster.make_room():
        raise PromptError(
            f"all {roster.config.max_tracks} tracks are visible or followed: remove one, or raise max_tracks"
        )
    key = roster.bank.open()
    try:
        crop, score = given or CroppedMask.empty(frame.size), 1.0
        logits = mask_logits(crop, roster.engines.side)
        if prompt is not None:
            seen = roster.engines.propagate(frame.features, roster.bank, [key], {key: prompt})
            logits, score = seen.logits[0], float(np.clip(seen.iou[0], 0, 1))
            crop = upsample_mask(logits, 0.0, frame.size)
        if crop.area == 0:
            raise PromptError("the student sees no object there: show it with a mask, or with a box that fits it")
        shape = mask_box(crop)
        diagonal = float(np.hypot(*shape[2:]))
        track = MemoryTrack(concept, score, shape, crop, frame.stamp, frame.stamp, frame.stamp, diagonal)
        track.key, track.followed, track.logits = key, True, logits
        roster.remember(frame, [track])
    except BaseException:
        roster.bank.close(key)
        raise
    roster.admit(track)
    return track
