# SPDX-License-Identifier: Apache-2.0
"""How long each stage of the last frame took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stages:
    """Milliseconds by stage of the last frame; reading a clock twice per stage is all it costs."""

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def start_frame(self) -> None:
        """Forget the frame before."""
        self._times = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of the `with` block to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._times[stage] = self._times.get(stage, 0.0) + (time.perf_counter() - start) * 1e3

    def last(self) -> dict[str, float]:
        """Stage -> ms of the last frame, in the order they ran."""
        return dict(self._times)
