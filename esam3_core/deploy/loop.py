# SPDX-License-Identifier: Apache-2.0
"""The closed loop: a tracker with other engines beside the reference, over the frames of a clip.

A small difference may let a track be born or corrected a frame earlier or later, and comes round again through memory.
The gate counts a mask that only one of the two shows as 0, whatever the reason; how many there were is told beside it.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property

import numpy as np

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.agreement import track_ious
from esam3_core.deploy.frames import frames
from esam3_core.deploy.gates import REFERENCE, Clip, Finding
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import Watch, watching
from esam3_core.runtime.student import Student
from esam3_core.runtime.track import Track


class Loop:
    """A bundle on a clip. The reference tracks it once, however many are judged beside it."""

    def __init__(self, bundle: Bundle, clip: Clip) -> None:
        self.bundle = bundle
        self.clip = clip

    def judge(self, config: RuntimeConfig = REFERENCE, watch: Watch | None = None) -> Finding:
        """Compare the masks of a tracker with another backend, or with engines that `watch` exchanges.

        Raises:
            ValueError: neither shows anything in the whole clip.
        """
        theirs = track_clip(self.bundle, self.clip, config, watch)
        ious = [found for pair in zip(self._reference, theirs, strict=True) if (found := track_ious(*pair))]
        if not ious:
            raise ValueError("nothing was tracked in the clip: give another --source or other --concept")
        means = [float(np.mean(found)) for found in ious]
        return Finding("loop", "all", "masks", min(means), float(np.mean(means)), len(means), _describe(ious))

    @cached_property
    def _reference(self) -> list[list[Track]]:
        return track_clip(self.bundle, self.clip, REFERENCE)


def track_clip(bundle: Bundle, clip: Clip, config: RuntimeConfig, watch: Watch | None = None) -> list[list[Track]]:
    """The tracks of every frame of the clip."""
    with watching(watch) if watch else nullcontext():
        tracker = Student(bundle, config).track(clip.concepts)
        return [tracker.step(image, stamp) for stamp, image in frames(clip.source, clip.frames)]


def _describe(ious: list[list[float]]) -> str:
    """Whether masks differ, or tracks come and go at other times: the remedies are not the same."""
    values = np.concatenate(ious)
    alone, shared = int((values == 0).sum()), values[values > 0]
    agree = f"; the others agree to {shared.mean():.4f}" if len(shared) else ""
    return f"{alone} of {len(values)} masks are shown by only one of the two{agree}"
