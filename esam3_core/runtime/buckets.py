# SPDX-License-Identifier: Apache-2.0
"""Tracks that go through an engine together: on a GPU in runs of few sizes, on a CPU without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.engines import Engine, OnnxEngine

BUCKETS = (1, 2, 4, 8, 16)  # tracks in one run of an engine of a GPU, which must not meet a new size every frame
Array = NDArray[Any]


def bucket(count: int) -> int:
    """The smallest bucket that holds `count` tracks, 1..16."""
    return next(size for size in BUCKETS if size >= count)


def split(items: Sequence[int]) -> list[Sequence[int]]:
    """Items in parts that fit into one run."""
    largest = BUCKETS[-1]
    return [items[start : start + largest] for start in range(0, len(items), largest)]


def rows_for(engine: Engine, count: int) -> int:
    """Rows in which `count` tracks are run: kernels of a CPU are not chosen by size, so padding is only work."""
    on_cpu = isinstance(engine, OnnxEngine) and engine.device[0] == "cpu"
    return count if on_cpu else bucket(count)


def padded(array: Array, rows: int) -> Array:
    """An array with as many rows, the new ones zero."""
    if len(array) == rows:
        return array
    out = np.zeros((rows, *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out
