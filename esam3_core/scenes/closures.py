# SPDX-License-Identifier: Apache-2.0
"""What closes a bottle: caps, corks and pumps."""

from __future__ import annotations

import numpy as np

from esam3_core.scenes.meshes import Mesh, curve, lathe, merge, sweep

CLOSURES = {"screw": 5.0, "cup": 1.5, "sport": 1.0, "pump": 1.0, "stopper": 0.7, "dome": 1.0}
"""Closure -> how often the wide split draws it; the other splits have screw caps only."""


_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "screw": [(1.15, 0), (1.15, 0.92), (1, 1), (0, 1)],
    "cup": [(1.3, 0), (1.22, 0.95), (1.1, 1), (0, 1)],  # as a thermos wears it
    "dome": [(1.2, 0), (1.15, 0.5), (0.8, 0.88), (0, 1)],
    "sport": [(1.15, 0), (1.15, 0.5), (0.45, 0.6), (0.45, 0.9), (0.6, 0.92), (0.55, 1), (0, 1)],
    "stopper": [(0.85, 0), (0.95, 0.5), (1.4, 0.6), (1.3, 1), (0, 1)],
}
"""Turned closure -> its outline (r, z) in units of the neck's radius and its own height."""

_TALLER = {"cup": (1.5, 2.5), "dome": (1.2, 1.8), "sport": (1.4, 2.0), "stopper": (1.0, 1.6)}
"""Closure -> least and largest height in those of a screw cap."""

_SUNK = {"screw": 0.7, "cup": 0.7, "dome": 0.7}
"""Closure -> share of its height that is below the neck's end."""


def closure(rng: np.random.Generator, neck: float, height: float, family: str) -> tuple[Mesh, float]:
    """A closure for a neck of this radius that ends at this height, m; and its own height, m."""
    tall = height * rng.uniform(0.05, 0.09)
    if family == "pump":
        return _pump(rng, neck, height, tall)
    if family in _TALLER:
        tall *= rng.uniform(*_TALLER[family])
    cap = lathe(np.array(_OUTLINES[family]) * [neck, tall], 24)
    return cap.moved((0, 0, height - tall * _SUNK.get(family, 0.0))), tall


def _pump(rng: np.random.Generator, neck: float, height: float, tall: float) -> tuple[Mesh, float]:
    """A collar, a rod and a spout that points to one side."""
    rise = tall * rng.uniform(1.0, 2.0)
    collar = lathe(
        [[neck * 1.15, 0], [neck * 1.15, tall * 0.8], [neck * 0.4, tall], [0.003, tall], [0.003, tall + rise]], 20
    )
    head = lathe([[0.008, tall + rise], [0.009, tall + 1.5 * rise], [0, tall + 1.6 * rise]], 16)
    reach = rng.uniform(0.02, 0.035)
    path = curve([[0, 0, tall + 1.3 * rise], [0.7 * reach, 0, tall + 1.4 * rise], [reach, 0, tall + 1.1 * rise]], 10)
    spout = sweep(path, np.linspace(0.0055, 0.0035, 10), 10, up=(0, 1, 0))
    return merge([collar, head, spout]).moved((0, 0, height - tall * 0.6)), tall + 1.6 * rise
