# SPDX-License-Identifier: Apache-2.0
"""Following exactly the one object that a user shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.errors import PromptError
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.memory import MemoryBank
from esam3_core.runtime.memory_roster import MemoryRoster, SeenFrame
from esam3_core.runtime.memory_track import MemoryTrack, mask_box
from esam3_core.runtime.object_prompt import ObjectPrompt, check_mask, mask_logits, object_prompt
from esam3_core.runtime.track import Box
from esam3_core.runtime.upsample import upsample_mask


@dataclass(frozen=True)
class Seen:
    """The object that was shown."""

    crop: CroppedMask
    logits: NDArray[Any]  # [h, w], of the mask
    score: float  # 0..1, IoU expected of the mask


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
            no object there, or every track is taken. Nothing changes, and no track is forgotten to make room.
    """
    points = list(points)
    if mask is not None and (box is not None or points):
        raise PromptError("a mask says it all: give either a mask, or a box and points")
    given = check_mask(mask, frame.size) if mask is not None else None
    if given:
        shown = Seen(given, mask_logits(given, roster.engines.side), 1.0)
    else:
        shown = _seen(roster, frame, object_prompt(box, points, frame.size, roster.engines.points))
    if shown.crop.area == 0:
        raise PromptError("the student sees no object there: show it with a mask, or with a box that fits it")
    if not roster.make_room():
        raise PromptError(
            f"all {roster.config.max_tracks} tracks are visible or followed: show fewer, remove one, or raise "
            "max_tracks (of the node, or of TrackerConfig)"
        )
    shape = mask_box(shown.crop)
    diagonal = float(np.hypot(*shape[2:]))
    track = MemoryTrack(concept, shown.score, shape, shown.crop, frame.stamp, frame.stamp, frame.stamp, diagonal)
    track.key, track.followed, track.logits = roster.bank.open(), True, shown.logits
    try:
        roster.remember(frame, [track])
    except BaseException:
        roster.bank.close(track.key)
        raise
    roster.admit(track)
    return track


def _seen(roster: MemoryRoster, frame: SeenFrame, prompt: ObjectPrompt) -> Seen:
    """What the student sees where a prompt points, asked of a memory that knows nothing and takes no track's place."""
    blank = MemoryBank(roster.bank.shape, rows=1)
    key = blank.open()
    seen = roster.engines.propagate(frame.features, blank, [key], {key: prompt})
    crop = upsample_mask(seen.logits[0], frame.level, frame.size)
    return Seen(crop, seen.logits[0], float(np.clip(seen.iou[0], 0, 1)))
