# SPDX-License-Identifier: Apache-2.0
"""The outline of a turned vessel: a family of control points, what lies between two families, and one draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esam3_core.scenes.meshes import FloatArray, curve

CUP_R, MUG_R, GLASS_R = (0.033, 0.046), (0.037, 0.049), (0.03, 0.04)
"""Usual radii of a kind, m."""


@dataclass(frozen=True)
class Family:
    """A family of outlines; `jitter` is how far each control radius may stray, as a fraction."""

    points: tuple[tuple[float, float], ...]
    radius: tuple[float, float]  # m
    aspect: tuple[float, float]  # height / (2 * radius)
    jitter: float = 0.04
    facets: bool = False


def between(one: Family, other: Family, share: float) -> Family:
    """A family of which every number is a share of the way from one to the other, of equal facets."""
    heights = sorted({z for family in (one, other) for _, z in family.points})
    radii = [np.interp(heights, *np.array(family.points).T[::-1]) for family in (one, other)]
    mixed = radii[0] + share * (radii[1] - radii[0])
    numbers = [(*family.radius, *family.aspect, family.jitter) for family in (one, other)]
    low, high, short, long, jitter = (a + share * (b - a) for a, b in zip(*numbers, strict=True))
    return Family(tuple(zip(mixed.tolist(), heights, strict=True)), (low, high), (short, long), jitter, one.facets)


def outline(rng: np.random.Generator, family: Family, samples: int = 22) -> tuple[FloatArray, float, float]:
    """Draw one outline: points (r, z) [samples, 2] in metres from foot to rim, its unit radius and its height."""
    radius = rng.uniform(*family.radius) * float(rng.choice([0.8, 1.0, 1.0, 1.0, 1.25]))
    height = 2 * radius * rng.uniform(*family.aspect)
    points = np.array(family.points)
    points[:, 0] *= 1 + rng.uniform(-family.jitter, family.jitter, len(points))
    shaped = curve(points, samples)
    return np.maximum(shaped, [[0.05, 0.0]]) * [[radius, height]], radius, height
