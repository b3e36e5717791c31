# SPDX-License-Identifier: Apache-2.0
"""What happened to the frames: counts since the start, and times over the last seconds. Thread-safe."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

WINDOW = 10.0  # s over which rates and percentiles count
ENGINES = frozenset(
    {"image_encoder", "text_encoder", "exemplar_encoder", "detector", "propagator", "memorizer", "refiner"}
)  # stages that run inside an engine


@dataclass(frozen=True)
class Snapshot:
    """The numbers of one moment; times in ms, `stages` maps a stage to its p50 and p95."""

    counts: Mapping[str, int] = field(default_factory=dict)
    rate: float = 0.0  # processed frames per second
    input_rate: float = 0.0  # received frames per second
    age: tuple[float, float] | None = None  # of published results
    stages: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    silent_for: float = 0.0  # s since the last frame arrived, or since `start`
    last_error: str = ""
    error_age: float = 0.0  # s since the last error
    last_warning: str = ""
    warning_age: float = 0.0  # s since the last warning


class Stats:
    """Written by the executor thread and the worker, read by diagnostics."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._arrivals: deque[float] = deque()
        self._frames: deque[tuple[float, float, Mapping[str, float]]] = deque()  # when, age in s, stage -> ms
        self._last_arrival = time.monotonic()
        self._error = ("", 0.0)
        self._warning = ("", 0.0)

    def start(self) -> None:
        """The subscription begins: silence counts from now."""
        with self._lock:
            self._last_arrival = time.monotonic()
            self._arrivals.clear()
            self._frames.clear()

    def arrived(self) -> None:
        """A frame came."""
        with self._lock:
            self._last_arrival = time.monotonic()
            self._arrivals.append(self._last_arrival)
            self._trim(self._last_arrival)

    def count(self, what: str) -> None:
        """One more of `what`."""
        with self._lock:
            self._counts[what] += 1

    def failed(self, what: str, error: str) -> None:
        """One more of `what`, and why."""
        with self._lock:
            self._counts[what] += 1
            self._error = (error, time.monotonic())

    def warned(self, warning: str) -> None:
        """Something about the frames is odd, but they are processed."""
        with self._lock:
            self._warning = (warning, time.monotonic())

    def published(self, age: float, stages: Mapping[str, float]) -> None:
        """A result of `age` seconds went out; `stages` in ms."""
        with self._lock:
            now = time.monotonic()
            self._counts["processed"] += 1
            self._frames.append((now, age, stages))
            self._trim(now)

    def snapshot(self) -> Snapshot:
        """The numbers of this moment."""
        with self._lock:
            now = time.monotonic()
            self._trim(now)
            frames = list(self._frames)
            names = dict.fromkeys(name for _, _, stages in frames for name in stages)
            error, error_at = self._error
            warning, warned_at = self._warning
            return Snapshot(
                counts=dict(self._counts),
                rate=_rate([when for when, _, _ in frames]),
                input_rate=_rate(self._arrivals),
                age=_percentiles([age * 1e3 for _, age, _ in frames]),
                stages={
                    name: both
                    for name in names
                    if (both := _percentiles([stages.get(name, 0.0) for _, _, stages in frames]))
                },
                silent_for=now - self._last_arrival,
                last_error=error,
                error_age=now - error_at,
                last_warning=warning,
                warning_age=now - warned_at,
            )

    def _trim(self, now: float) -> None:
        while self._arrivals and now - self._arrivals[0] > WINDOW:
            self._arrivals.popleft()
        while self._frames and now - self._frames[0][0] > WINDOW:
            self._frames.popleft()


def split_time(stages: Mapping[str, float], total: float) -> dict[str, float]:
    """Stages of a frame in ms, with `engines` (inside engines), `other` (everything else) and `total`."""
    engines = sum(ms for name, ms in stages.items() if name in ENGINES)
    return {**stages, "engines": engines, "other": total - engines, "total": total}


def _rate(times: Iterable[float]) -> float:
    moments = list(times)
    span = moments[-1] - moments[0] if len(moments) > 1 else 0.0
    return (len(moments) - 1) / span if span > 0 else 0.0


def _percentiles(values: list[float]) -> tuple[float, float] | None:
    if not values:
        return None
    p50, p95 = np.percentile(values, (50, 95))
    return float(p50), float(p95)
