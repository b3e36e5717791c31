# SPDX-License-Identifier: Apache-2.0
"""A one-slot mailbox and the worker thread that empties it.

The executor thread only ever puts; the worker only ever takes. A newer frame overwrites an older one, so nothing
queues and the age of a result is bounded by one unit of work. Orders (new concepts, reset) are never dropped and run
between frames.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

FrameT = TypeVar("FrameT")
Order = Callable[[], object]


class Mailbox(Generic[FrameT]):
    """The newest frame, and the orders that must run before it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._frame: FrameT | None = None
        self._orders: deque[Order] = deque()
        self._closed = False
        self._received = 0
        self._dropped = 0

    def put(self, frame: FrameT) -> bool:
        """Leave a frame; whether that dropped one which was not taken yet."""
        with self._changed:
            if self._closed:
                return False
            drops = self._frame is not None
            self._received += 1
            self._dropped += drops
            self._frame = frame
            self._changed.notify()
            return drops

    def order(self, order: Order) -> None:
        """Leave something to do before the next frame; orders run in the sequence they came."""
        with self._changed:
            if not self._closed:
                self._orders.append(order)
                self._changed.notify()

    def take(self) -> Order | FrameT | None:
        """Wait for the next order, else the newest frame; None once the mailbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._orders or self._frame is not None)
            if self._closed:
                return None
            if self._orders:
                return self._orders.popleft()
            frame, self._frame = self._frame, None
            return frame

    def forget_frame(self) -> None:
        """Throw away a frame that was not taken yet."""
        with self._changed:
            self._frame = None

    def close(self) -> None:
        """Let `take` return None from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def counts(self) -> tuple[int, int]:
        """Frames received and frames dropped because a newer one came, since the start."""
        with self._changed:
            return self._received, self._dropped


class Worker(Generic[FrameT]):
    """A thread that works on frames and orders, and survives every exception they raise."""

    def __init__(
        self, work: Callable[[FrameT], None], on_error: Callable[[Exception], None], name: str = "worker"
    ) -> None:
        self.mailbox: Mailbox[FrameT] = Mailbox()
        self._work = work
        self._on_error = on_error
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def run(self, order: Order, timeout: float) -> bool:
        """Run an order on the worker and wait for it; False when it did not end within `timeout` seconds."""
        done = threading.Event()

        def and_tell() -> None:
            try:
                order()
            finally:
                done.set()

        self.mailbox.order(and_tell)
        return done.wait(timeout)

    def stop(self, timeout: float = 5.0) -> bool:
        """Close the mailbox and wait for the work in hand; False when it did not end within `timeout` seconds."""
        self.mailbox.close()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self.mailbox.take()) is not None:
            try:
                if callable(item):
                    item()
                else:
                    self._work(item)
            except Exception as error:  # a frame may fail, the worker may not
                self._on_error(error)
