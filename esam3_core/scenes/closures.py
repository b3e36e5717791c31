# SPDX-License-Identifier: Apache-2.0
"""What closes a bottle: caps, corks and pumps."""

from __future__ import annotations

import numpy as np

from esam3_core.scenes.meshes import Mesh, curve, lathe, merge, sweep

CLOSURES = {"screw": 5.0, "cup": 1.5, "sport": 1.0, "pump": 1.0, "stopper": 0.7, "dome": 1.0}
"""Closure -> how often the wide split draws it; the other splits have screw caps only."""


def closure(rng: np.random.Generator, neck: float, height: float, family: str) -> tuple[Mesh, float]:
    """A closure for a neck of this radius that ends at this height, m; and its own height, m."""
    tall = height * rng.uniform(0.05, 0.09)
    if family == "screw":
        line = [[neck * 1.15, 0], [neck * 1.15, tall * 0.92], [neck, tall], [0, tall]]
    elif family == "cup":  # as wide as a thermos wears it
        tall *= rng.uniform(1.5, 2.5)
        line = [[neck * 1.3, 0], [neck * 1.22, tall * 0.95], [neck * 1.1, tall], [0, tall]]
    elif family == "dome":
        tall *= rng.uniform(1.2, 1.8)
        line = [[neck * 1.2, 0], [neck * 1.15, tall * 0.5], [neck * 0.8, tall * 0.88], [0, tall]]
    elif family == "sport":
        tall *= rng.uniform(1.4, 2.0)
        line = [[neck * 1.15, 0], [neck * 1.15, tall * 0.5], [neck * 0.45, tall * 0.6]]
        line += [[neck * 0.45, tall * 0.9], [neck * 0.6, tall * 0.92], [neck * 0.55, tall], [0, tall]]
    elif family == "stopper":
        tall *= rng.uniform(1.0, 1.6)
        line = [[neck * 0.85, 0], [neck * 0.95, tall * 0.5], [neck * 1.4, tall * 0.6], [neck * 1.3, tall], [0, tall]]
    else:
        return _pump(rng, neck, height, tall)
    return lathe(line, 24).moved((0, 0, height - tall * 0.7 * (family in ("screw", "cup", "dome")))), tall


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
