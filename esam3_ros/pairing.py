# SPDX-License-Identifier: Apache-2.0
"""Messages that belong to one image, brought together by their exact stamp."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

Stamp = tuple[int, int]


def stamp_of(message: Any) -> Stamp:
    """Seconds and nanoseconds of a message's header: exact, unlike a float."""
    return message.header.stamp.sec, message.header.stamp.nanosec


class Pairing:
    """Waits until every one of `kinds` has come with the same stamp.

    Messages whose partners never come are forgotten once `history` later ones of their kind have come.
    """

    def __init__(self, kinds: tuple[str, ...], history: int) -> None:
        self._waiting: dict[str, OrderedDict[Stamp, Any]] = {kind: OrderedDict() for kind in kinds}
        self._history = history

    def add(self, kind: str, stamp: Stamp, message: Any) -> dict[str, Any] | None:
        """Add a message; returns all messages of its stamp by kind once they are complete, else None."""
        waiting = self._waiting[kind]
        waiting[stamp] = message
        while len(waiting) > self._history:
            waiting.popitem(last=False)
        if not all(stamp in others for others in self._waiting.values()):
            return None
        return {name: others.pop(stamp) for name, others in self._waiting.items()}

    def clear(self) -> None:
        """Forget everything."""
        for waiting in self._waiting.values():
            waiting.clear()
