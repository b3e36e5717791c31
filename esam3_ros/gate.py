# SPDX-License-Identifier: Apache-2.0
"""Which frames are processed: neither too old nor too many, and what their stamps say about time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from esam3_core.config import NodeConfig

PLAUSIBLE_AGE = (-1.0, 60.0)  # s: outside, stamps come from another clock and say nothing about delay
CLOCK_STEP = 1.0  # s: between two messages on /clock, at most


@dataclass(frozen=True)
class Admission:
    """What to do with one frame."""

    refused: str  # "", "stale" or "rate"
    stamp: float  # s, for the tracker: the image's stamp, or the arrival when it has none
    same_clock: bool  # False: stamps are of another clock, ages count from the arrival


class Gate:
    """Decides frame by frame; a stamp that goes back (a bag that loops) starts anew."""

    def __init__(self) -> None:
        self._last: float | None = None
        self._due = -math.inf  # s: stamp from which a frame keeps within max_rate; -inf: whatever comes next does

    def forget(self) -> None:
        """Start anew: the next frame may have any stamp."""
        self._last = None

    def admit(self, stamp: float, now: float, waited: float, config: NodeConfig) -> Admission:
        """Judge a frame.

        Args:
            stamp: the image's, s; 0 means that the driver set none.
            now: the node's clock, s.
            waited: s since the frame arrived.
        """
        low, high = PLAUSIBLE_AGE
        same_clock = low <= now - stamp <= high
        age = now - stamp if same_clock else waited
        stamp = stamp or self._arrival(now - waited)
        if self._last is None or stamp < self._last:
            self._due = -math.inf  # before any refusal: if this frame is stale, the next ones are due all the same
        self._last = stamp
        refused = "stale" if config.max_frame_age and age > config.max_frame_age else ""
        if not refused and config.max_rate:
            refused = self._limit(stamp, 1.0 / config.max_rate)
        return Admission(refused, stamp, same_clock)

    def _arrival(self, at: float) -> float:
        """A stamp for an image without one. `/clock` advances in steps, the wait does not: a little back is no jump."""
        if self._last is not None and self._last - CLOCK_STEP <= at < self._last:
            return self._last
        return at

    def _limit(self, stamp: float, period: float) -> str:
        # Stamps jitter: a frame that comes a fifth of a period early is still the one that was due.
        if stamp < self._due - 0.2 * period:
            return "rate"
        self._due = period + (stamp if self._due == -math.inf else max(self._due, stamp - period))
        return ""
