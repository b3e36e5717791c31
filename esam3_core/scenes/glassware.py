# SPDX-License-Identifier: Apache-2.0
"""Drinking vessels of glass, with a stem and without."""

from __future__ import annotations

import numpy as np

from esam3_core.scenes.meshes import FloatArray, curve, lathe
from esam3_core.scenes.models import Collider, Look, Part, Thing, painted, pick
from esam3_core.scenes.vessels import turned

_BOWLS: dict[str, tuple[float, float, list[tuple[float, float]]]] = {
    "tulip": (0.036, 0.085, [(0.1, 0), (0.75, 0.2), (1, 0.5), (0.82, 1)]),
    "balloon": (0.045, 0.085, [(0.1, 0), (0.8, 0.2), (1, 0.45), (0.72, 1)]),
    "goblet": (0.038, 0.075, [(0.2, 0), (0.85, 0.25), (0.98, 0.6), (1, 1)]),
    "coupe": (0.048, 0.04, [(0.1, 0), (0.7, 0.3), (0.95, 0.7), (1, 1)]),
    "port": (0.03, 0.07, [(0.1, 0), (0.8, 0.25), (1, 0.5), (0.7, 1)]),
    "snifter": (0.05, 0.08, [(0.1, 0), (0.88, 0.28), (1, 0.5), (0.56, 1)]),
    "angular": (0.038, 0.08, [(0.1, 0), (0.84, 0.12), (0.93, 0.5), (1, 1)]),
    "sherry": (0.026, 0.062, [(0.1, 0), (0.7, 0.25), (0.95, 0.6), (0.92, 1)]),
    "hurricane": (0.036, 0.125, [(0.2, 0), (0.92, 0.22), (0.72, 0.6), (1, 1)]),
    "margarita": (0.052, 0.062, [(0.1, 0), (0.42, 0.2), (0.46, 0.42), (0.94, 0.62), (1, 1)]),
    "flute": (0.025, 0.13, [(0.15, 0), (0.75, 0.2), (1, 0.5), (0.95, 1)]),
    "cone": (0.05, 0.055, [(0.08, 0), (0.38, 0.33), (0.7, 0.67), (1, 1)]),
}
"""Family of wine glass -> radius and depth of its bowl, m, and its outline (r, z) in units of these."""


_HELD_OUT = ("flute", "cone")
_WINE_GLASSES = {
    "train": ("tulip", "balloon"),
    "wide": tuple(family for family in _BOWLS if family not in _HELD_OUT),
    "held_out": _HELD_OUT,
}


def glass(rng: np.random.Generator, split: str) -> Thing:
    """A drinking glass without a stem."""
    finish = painted(rng, "glass", split, {"glass": 1})
    thing, profile = turned(rng, "glass", split, finish, 0.0022)
    if rng.random() < 0.5:
        thing.parts.insert(0, _contents(rng, profile, 0.0025))
    return thing


def _contents(rng: np.random.Generator, profile: FloatArray, thickness: float, level: float | None = None) -> Part:
    """A body of liquid seen through glass."""
    top = (level or rng.uniform(0.3, 0.8)) * profile[-1, 1]
    inner = profile.copy()
    inner[:, 0] = np.maximum(inner[:, 0] - thickness, 0.002)
    below = inner[(inner[:, 1] < top) & (inner[:, 1] > 0.002)]
    edge = float(np.interp(top, inner[:, 1], inner[:, 0]))
    ring = np.concatenate([[[0.0, below[0, 1]]], below, [[edge, top], [0.0, top]]])
    tone, alpha = [
        ((0.9, 0.45, 0.05), 0.9),
        ((0.35, 0.02, 0.05), 0.9),
        ((0.75, 0.85, 0.9), 0.3),
        ((0.25, 0.1, 0.04), 0.95),
        ((0.9, 0.8, 0.45), 0.55),
    ][rng.integers(5)]
    return Part(lathe(ring, 28), Look(np.array(tone), alpha, 0.4, 0.8))


def wine_glass(rng: np.random.Generator, split: str) -> Thing:
    """A bowl on a stem; the train split has round bowls, the held-out one flutes and cones."""
    finish = painted(rng, "wine glass", split, {"glass": 1})
    family = pick(rng, _WINE_GLASSES[split])
    size = rng.uniform(0.9, 1.25)
    radius, depth, shape = _BOWLS[family]
    stray = 0.15 if split == "wide" else 0.08
    bowl_r = size * radius * rng.uniform(1 - stray, 1 + stray)
    bowl_h = size * depth * rng.uniform(1 - stray, 1 + stray)
    short = family in ("goblet", "snifter", "hurricane")
    stem_h = size * (rng.uniform(0.065, 0.1) if not short else rng.uniform(0.03, 0.1))
    stem_r = rng.uniform(0.7, 2.0) if split == "wide" else 1.0
    cup_line = curve(np.array(shape), 16) * [bowl_r, bowl_h]
    foot_r = bowl_r * rng.uniform(0.85, 1.0) if family != "flute" else bowl_r * 1.25
    outer = np.concatenate(
        [
            [
                [0, 0],
                [foot_r, 0.0],
                [foot_r, 0.002],
                [foot_r * 0.3, 0.006],
                [0.0042 * stem_r, 0.016],
                [0.0036 * stem_r, stem_h * 0.6],
                [0.0045, stem_h],
            ],
            cup_line[1:] + np.array([0, stem_h]),
        ]
    )
    inner = cup_line[::-1].copy()
    inner[:, 0] = np.maximum(inner[:, 0] - 0.0012, 0.001)
    inner = np.concatenate([[[cup_line[-1, 0], bowl_h]], inner, [[0, 0.002]]]) + np.array([0, stem_h])
    height = float(outer[-1, 1])
    parts = []
    if rng.random() < 0.5:
        drink = _contents(rng, cup_line, 0.0016, rng.uniform(0.3, 0.6))
        parts.append(Part(drink.mesh.moved((0, 0, stem_h)), drink.look))
    parts += [
        Part(lathe(outer, 32), Look.of("glass", finish.rgb, alpha=0.34)),
        Part(lathe(inner, 32), Look.of("glass", finish.rgb, alpha=0.25)),
    ]
    colliders = [
        Collider("cylinder", (foot_r, 0.004), (0, 0, 0.004)),
        Collider("cylinder", (bowl_r, bowl_h / 2), (0, 0, stem_h + bowl_h / 2)),
        Collider("cylinder", (0.005, stem_h / 2), (0, 0, stem_h / 2)),
    ]
    return Thing("wine glass", family, parts, colliders, max(bowl_r, foot_r), height, finish, 0.15, can_topple=True)
