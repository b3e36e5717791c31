# SPDX-License-Identifier: Apache-2.0
"""Whose turn it is: which concepts are looked for on a frame."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


class Turns:
    """Every concept is looked for on every n-th frame, and concepts take turns, so that frames cost alike."""

    def __init__(self) -> None:
        self._since: dict[str, int] = {}  # concept -> frames since it was looked for

    def restart(self) -> None:
        """Everything is due on the next frame."""
        self._since = {}

    def due(self, concepts: Sequence[str], every: int) -> list[str]:
        """The concepts whose turn it is, if each has one every `every` frames; those never looked for, at once."""
        fresh = [concept for concept in concepts if concept not in self._since]
        waiting = [concept for concept in concepts if self._since.get(concept, 0) >= every]
        waiting.sort(key=lambda concept: -self._since[concept])  # stable: else in the order given
        return fresh + waiting[: math.ceil(len(concepts) / every)]

    def next_frame(self, concepts: Collection[str], looked_for: Collection[str]) -> None:
        """A frame of a search for `concepts` is over; `looked_for`: those that had their turn, due or not."""
        self._since = {concept: 1 + self._since.get(concept, 0) for concept in concepts if concept in self._since}
        self._since |= dict.fromkeys(looked_for, 1)
