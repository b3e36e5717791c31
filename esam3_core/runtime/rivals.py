# SPDX-License-Identifier: Apache-2.0
"""Two tracks that are known to be two draw the same thing: which of them has it.

When one twin comes to hide the other, memory may draw the one in front for both, and be surer of it for the one that
is gone. Then the two would swap their ids, so where a track was and how it moved counts for more than what it draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.memory_track import MemoryTrack
from esam3_core.runtime.overlaps import SUPPRESSED
from esam3_core.runtime.upsample import upsample_mask

if TYPE_CHECKING:
    from esam3_core.runtime.memory_roster import SeenFrame

RIVALS = 0.6  # mask IoU from which two masks are not those of two things
CONTINUES = 0.7  # IoU with where a track must be now, from which its mask goes on with it


def settle_rivals(older: MemoryTrack, newer: MemoryTrack, is_one: bool, before: set[int], frame: SeenFrame) -> None:
    """Let that one of two rivals have the instance which goes on as it did.

    Args:
        is_one: their masks are as good as one, so the other is hidden. If not, it only yields the pixels of a rival
            that goes on beyond doubt; else they stay with whoever is surer of them.
        before: keys of the tracks that were visible in the frame before.
    """
    goes_on = [one.key in before and continuity(one, frame) for one in (older, newer)]
    first, second = (newer, older) if goes_on[0] < goes_on[1] else (older, newer)
    if is_one:
        second.suppressed = True
    elif max(goes_on) >= CONTINUES:
        kept = np.minimum(second.logits, SUPPRESSED)
        second.logits = np.where(first.logits > frame.level, kept, second.logits)


def continuity(track: MemoryTrack, frame: SeenFrame) -> float:
    """IoU of the mask that memory sees with where the track must be if it moved on as it did."""
    crop = upsample_mask(track.logits, frame.level, frame.size)
    return float(iou_matrix([crop], [track.predicted_crop(frame.stamp)])[0, 0])
