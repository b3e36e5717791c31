# SPDX-License-Identifier: Apache-2.0
"""Hands and grippers that pass in front of things, and the paths they take. Built along x, the hand at the origin."""

from __future__ import annotations

import numpy as np

from esam3_core.scenes import colours, textures
from esam3_core.scenes.meshes import FloatArray, Mesh, box, curve, ellipsoid, merge, sweep
from esam3_core.scenes.models import Look, Part


def _rod(points: list[tuple[float, float, float]], radii: list[float], samples: int = 16, segments: int = 12) -> Mesh:
    path = curve(np.array(points), samples)
    r = np.interp(np.linspace(0, 1, samples), np.linspace(0, 1, len(radii)), radii)
    r[0] = r[-1] = 0.0008
    path[0], path[-1] = path[1] + 0.35 * (path[0] - path[1]), path[-2] + 0.35 * (path[-1] - path[-2])
    return sweep(path, r, segments)


def hand(rng: np.random.Generator, split: str) -> list[Part]:
    """A forearm in a sleeve (or bare) with a hand whose fingers reach forward and down."""
    tone = colours.skin(rng)
    curl = rng.uniform(0.1, 0.9)
    meshes = [
        ellipsoid((0.052, 0.042, 0.017), 18, 12, 0.85).moved((-0.03, 0, 0)),
        _rod([(-0.36, 0, 0.03), (-0.2, 0, 0.015), (-0.07, 0, 0.0)], [0.042, 0.038, 0.029, 0.026], 14, 16),
    ]
    for k, (y, length) in enumerate(((-0.031, 0.058), (-0.011, 0.072), (0.01, 0.077), (0.03, 0.07))):
        reach, drop = length * (1 - 0.35 * curl), length * curl * 0.75
        spread = y * rng.uniform(1.0, 1.3)
        meshes.append(
            _rod(
                [(0.0, y, 0.002), (reach * 0.5, (y + spread) / 2, -0.15 * drop), (reach, spread, -drop)],
                [0.0105, 0.0098, 0.0085, 0.0075][: 4 - (k == 0)],
                12,
                10,
            )
        )
    meshes.append(
        _rod(
            [(-0.055, 0.03, -0.005), (-0.02, 0.062, -0.02), (0.02, 0.064, -0.03 - 0.01 * curl)],
            [0.014, 0.0115, 0.009],
            12,
            10,
        )
    )
    parts = [Part(merge(meshes), Look.of("skin", tone))]
    start = -0.09 if rng.random() < 0.65 else -0.24
    cuff = _rod([(-0.75, 0, 0.1), (-0.45, 0, 0.045), (start, 0, 0.012)], [0.062, 0.055, 0.048, 0.047], 18, 18)
    cloth = textures.surface(rng, split, (96, 96), ("cloth", "plain"))
    parts.append(Part(cuff, Look.of("cloth", texture=cloth)))
    return parts


def gripper(rng: np.random.Generator, split: str) -> list[Part]:
    """A robot's parallel gripper on a jointed arm."""
    shell = Look.of("plastic", colours.anything(rng, (0, 0.15 if rng.random() < 0.7 else 0.9), (0.15, 0.92)))
    dark = Look.of("rubber", np.full(3, rng.uniform(0.05, 0.25)))
    gap = rng.uniform(0.02, 0.045)
    fingers = merge([box((0.06, 0.012, 0.022), atlas=False).moved((0.0, s * gap, 0)) for s in (-1, 1)])
    palm = box((0.05, 0.13, 0.05), atlas=False).moved((-0.05, 0, 0))
    parts = [Part(fingers, dark), Part(palm, shell)]
    parts.append(
        Part(
            merge(
                [
                    _rod([(-0.06, 0, 0), (-0.12, 0, 0.005), (-0.2, 0, 0.03)], [0.035, 0.035, 0.035]),
                    ellipsoid((0.048, 0.048, 0.048)).moved((-0.2, 0, 0.03)),
                ]
            ),
            shell,
        )
    )
    parts.append(
        Part(
            _rod([(-0.2, 0, 0.03), (-0.45, 0, 0.14), (-0.75, 0, 0.28)], [0.04, 0.038, 0.045]),
            dark if split == "held_out" else shell,
        )
    )
    return parts


def yawed(yaw: float, pitch: float) -> FloatArray:
    """Quaternion (w, x, y, z): turned by yaw about z, then nose down by pitch; radians."""
    cy, sy, cp, sp = np.cos(yaw / 2), np.sin(yaw / 2), np.cos(pitch / 2), np.sin(pitch / 2)
    return np.array([cy * cp, -sy * sp, cy * sp, sy * cp])
