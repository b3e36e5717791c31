# SPDX-License-Identifier: Apache-2.0
"""Logging what goes wrong frame after frame without flooding the log."""

from __future__ import annotations

import re
import threading
import time
from typing import Any


class Complaints:
    """Logs a complaint at most once per `period` seconds; numbers in it do not make it another one. Thread-safe."""

    def __init__(self, logger: Any, period: float = 10.0) -> None:
        self._logger = logger
        self._period = period
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()

    def warn(self, text: str) -> None:
        if self._is_due(text):
            self._logger.warning(text)

    def error(self, text: str) -> None:
        if self._is_due(text):
            self._logger.error(text)

    def _is_due(self, text: str) -> bool:
        key, now = re.sub(r"\d+", "#", text), time.monotonic()
        with self._lock:
            due = now - self._said.get(key, -self._period) >= self._period
            if due:
                self._said[key] = now
        return due
