# SPDX-License-Identifier: Apache-2.0
"""Engines that are watched while a student runs: what they were fed, and how long they took."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.engines import Engine

Feeds = dict[str, NDArray[Any]]


class Recorder:
    """Keeps what the engines of a student are fed: give `watch` to `esam3_core.runtime.engines.watching`."""

    def __init__(self, most: int = 8, every: int = 1) -> None:
        """Of every graph, keep at most `most` runs, each `every`-th."""
        self.most = most
        self.every = every
        self.feeds: dict[str, list[Feeds]] = defaultdict(list)
        self._seen: dict[str, int] = defaultdict(int)

    def watch(self, path: Path, engine: Engine) -> Engine:
        """The same engine, recorded."""
        return _Recorded(path.stem, engine, self)

    def note(self, graph: str, feeds: Mapping[str, Any]) -> None:
        """Keep one run, if it is its turn."""
        self._seen[graph] += 1
        if (self._seen[graph] - 1) % self.every == 0 and len(self.feeds[graph]) < self.most:
            self.feeds[graph].append(
                {name: np.array(feed if isinstance(feed, np.ndarray) else feed.numpy()) for name, feed in feeds.items()}
            )


class Stopwatch:
    """Measures every engine of a student: give `watch` to `esam3_core.runtime.engines.watching`."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)  # graph -> ms of every run

    def watch(self, path: Path, engine: Engine) -> Engine:
        """The same engine, measured."""
        return _Measured(path.stem, engine, self.times)


class _Recorded:
    def __init__(self, graph: str, engine: Engine, recorder: Recorder) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._graph, self._engine, self._recorder = graph, engine, recorder

    def run(self, feeds: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        self._recorder.note(self._graph, feeds)
        return self._engine.run(feeds, keep)


class _Measured:
    def __init__(self, graph: str, engine: Engine, times: dict[str, list[float]]) -> None:
        self.inputs, self.outputs = engine.inputs, engine.outputs
        self._graph, self._engine, self._times = graph, engine, times

    def run(self, feeds: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        start = time.perf_counter()
        result = self._engine.run(feeds, keep)
        self._times[self._graph].append((time.perf_counter() - start) * 1e3)
        return result
