# SPDX-License-Identifier: Apache-2.0
"""The closed loop: a tracker with other engines beside the reference, over the frames of a clip.

A small difference may let a track be born or corrected a frame earlier or later, and comes round again through memory.
The gate counts a mask that only one of the two shows as 0, whatever the reason; how many there were is told beside it.

Where there is memory, the detector runs on few frames only: on every frame it would draw the masks itself, and a memory
that remembers nothing would pass.

A score of 0.5996 beside one of 0.6008 bears a track in one of the two only, and the detector then looks at other
frames: that is chance, not a fault. So a loop that does not agree is run again with `new_score` a little higher and a
little lower, for both alike, and the best agreement counts. A fault shows at all three.

What fails is told beside a yardstick: how well the reference agrees with itself when every pixel is a grey level off,
as any camera's is. A bundle that is less steady than that says little of its engines (one with random weights).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from functools import cache, cached_property

import numpy as np

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.agreement import track_ious
from esam3_core.deploy.frames import frames
from esam3_core.deploy.gates import LEAST, REFERENCE, Clip, Finding
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import Watch, watching
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.student import Student
from esam3_core.runtime.track import Track

LOOK_EVERY = 8  # frames, of which the detector runs on one; half a second of our own clip
NUDGES = (0.02, -0.02)  # of `new_score`, tried where the loop does not agree
NOISE = 1  # grey levels by which a pixel is off, at most, for the yardstick


class Loop:
    """A bundle on a clip. The reference tracks it once, however many are judged beside it."""

    def __init__(self, bundle: Bundle, clip: Clip) -> None:
        self.bundle = bundle
        self.clip = clip
        self._reference = cache(self._track)  # by nudge; goes with this loop

    def judge(self, config: RuntimeConfig = REFERENCE, watch: Watch | None = None) -> Finding:
        """Compare the masks of a tracker with another backend, or with engines that `watch` exchanges.

        Raises:
            ValueError: neither shows anything in the whole clip.
        """
        best = self._candidate(config, watch, 0.0)
        if best is None:
            raise ValueError("nothing was tracked in the clip: give another --source or other --concept")
        for nudge in NUDGES:
            if best.mean >= LEAST["loop"]:
                break
            best = max(best, self._candidate(config, watch, nudge) or best, key=lambda finding: finding.mean)
        if best.passed:
            return best
        told = f"the reference agrees to {self._steadiness:.4f} with itself where every pixel is up to {NOISE} off"
        return replace(best, note=f"{best.note}; {told}")

    def _candidate(self, config: RuntimeConfig, watch: Watch | None, nudge: float) -> Finding | None:
        """The agreement with another `new_score` for both; None where neither shows anything."""
        found = self._compare(track_clip(_nudged(self.bundle, nudge), self.clip, config, watch), nudge)
        return replace(found, note=f"{found.note}, with new_score {nudge:+} for both") if found and nudge else found

    @cached_property
    def _steadiness(self) -> float:
        """How well the reference agrees with itself on frames that are a little off; nan if it shows nothing."""
        found = self._compare(track_clip(self.bundle, self.clip, REFERENCE, noise=NOISE), 0.0)
        return found.mean if found else float("nan")

    def _compare(self, theirs: list[list[Track]], nudge: float) -> Finding | None:
        """The agreement of tracks with the reference's; None where neither shows anything."""
        ious = [track_ious(*pair) for pair in zip(self._reference(nudge), theirs, strict=True)]
        means = [float(np.mean(found)) for found in ious if found]
        if not means:
            return None
        return Finding("loop", "all", "masks", min(means), float(np.mean(means)), len(means), _describe(ious))

    def _track(self, nudge: float) -> list[list[Track]]:
        return track_clip(_nudged(self.bundle, nudge), self.clip, REFERENCE)


def _nudged(bundle: Bundle, nudge: float) -> Bundle:
    score = min(1.0, max(0.0, bundle.tracker.new_score + nudge))
    return replace(bundle, tracker=replace(bundle.tracker, new_score=score))


def track_clip(
    bundle: Bundle, clip: Clip, config: RuntimeConfig, watch: Watch | None = None, noise: int = 0
) -> list[list[Track]]:
    """The tracks of every frame of the clip.

    Args:
        noise: grey levels by which pixels are off, at most.
    """
    with watching(watch) if watch else nullcontext():
        rarely = replace(bundle.tracker, detect_every=LOOK_EVERY if "propagator" in bundle.graphs else 1)
        tracker = Student(bundle, config).track(clip.concepts, rarely)
        rng = np.random.default_rng(0)
        return [tracker.step(_off(image, noise, rng), stamp) for stamp, image in frames(clip.source, clip.frames)]


def _off(image: Image, noise: int, rng: np.random.Generator) -> Image:
    if not noise:
        return image
    return np.clip(image + rng.integers(-noise, noise + 1, image.shape), 0, 255).astype(np.uint8)


def _describe(ious: list[list[float]]) -> str:
    """Whether masks differ, or tracks come and go at other times: the remedies are not the same.

    Args:
        ious: of every frame; none where nothing is shown.
    """
    values = np.concatenate(ious)
    alone, shared = int((values == 0).sum()), values[values > 0]
    since = next((f", from frame {number} on" for number, found in enumerate(ious, 1) if 0 in found), "")
    agree = f"; the others agree to {shared.mean():.4f}" if len(shared) else ""
    return f"{alone} of {len(values)} masks are shown by only one of the two{since}{agree}"
