# SPDX-License-Identifier: Apache-2.0
"""Feature maps as float16, or as int8 with one scale per channel."""

from __future__ import annotations

import numpy as np

Parts = dict[str, np.ndarray]


def pack(values: np.ndarray, precision: str) -> Parts:
    """A float map [C, h, w] as arrays to store.

    int8: each channel is divided by its largest magnitude / 127, so that the error is at most half a step of 1/127
    of that channel's range, whatever the other channels hold.
    """
    if precision == "fp16":
        limit = np.finfo(np.float16).max
        return {"half": np.clip(values, -limit, limit).astype(np.float16)}
    scale = np.maximum(np.abs(values).max((1, 2)), 1e-12).astype(np.float32) / 127
    return {"steps": np.rint(values / scale[:, None, None]).astype(np.int8), "scale": scale}


def unpack(parts: Parts) -> np.ndarray:
    """The float32 map [C, h, w] of stored arrays."""
    if "half" in parts:
        return parts["half"].astype(np.float32)
    return parts["steps"].astype(np.float32) * parts["scale"][:, None, None]
