# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C between two frames instead of in the middle of one."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


@contextmanager
def held_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back: the block asks whether it came, and ends what it writes. A second one is not held.

    An interrupt that arrives while a frame goes to ffmpeg would leave a video that cannot be played. For the main
    thread, which alone may say what a signal does.
    """
    before = signal.getsignal(signal.SIGINT)
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, before)
