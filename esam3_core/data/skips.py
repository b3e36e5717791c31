# SPDX-License-Identifier: Apache-2.0
"""What could not be read: skipped, counted, and never silently."""

from __future__ import annotations

import logging
from collections import Counter

from esam3_core.data.sample import Sample, Samples

BAD_DATA = (ValueError, OSError, KeyError)
"""What a reader raises for a sample that is missing, torn or wrong."""

IN_A_ROW = 50  # broken samples after which the data set itself must be broken

logger = logging.getLogger(__name__)


class Skips:
    """Counts what was left out, by reason; the first of each reason is logged in full."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, reason: str, detail: object = "") -> None:
        """One more of a reason ("empty mask", "torn tar")."""
        if not self.counts[reason]:
            logger.warning("skipped (%s): %s; more of this kind are only counted", reason, detail)
        self.counts[reason] += 1

    @property
    def total(self) -> int:
        """Everything left out."""
        return self.counts.total()

    def __str__(self) -> str:
        return ", ".join(f"{count} x {reason}" for reason, count in self.counts.most_common()) or "nothing skipped"


class Tolerant:
    """A data set for training: where a sample cannot be read, the next one that can be takes its place.

    Args:
        samples: with random access.
        skips: counts what was passed over.
    """

    def __init__(self, samples: Samples, skips: Skips | None = None) -> None:
        self.samples = samples
        self.skips = skips or Skips()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        """Raises ValueError if IN_A_ROW samples after one another are broken."""
        last: Exception | None = None
        for step in range(min(IN_A_ROW, len(self.samples))):
            try:
                return self.samples[(index + step) % len(self.samples)]
            except BAD_DATA as error:
                self.skips.add(type(error).__name__, error)
                last = error
        raise ValueError(f"{IN_A_ROW} samples from number {index} on cannot be read: {last}") from last
