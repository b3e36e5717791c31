# SPDX-License-Identifier: Apache-2.0
"""Round things: ball, apple, banana, orange."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from esam3_core.scenes import colours
from esam3_core.scenes.meshes import FloatArray, curve, lathe, sweep
from esam3_core.scenes.models import Collider, Finish, Look, Part, Thing, painted, pick, surface_of
from esam3_core.scenes.patterns import skin

Marks = NDArray[np.bool_]  # [rows, columns] of a picture


def _sphere_line(radius: float, samples: int = 18) -> FloatArray:
    angle = np.linspace(-np.pi / 2, np.pi / 2, samples)
    return np.stack([radius * np.cos(angle).clip(0), radius * np.sin(angle) + radius], 1)


_WIDE_BALLS = {"smooth": 4.0, "bands": 2.0, "halves": 1.0, "patches": 2.0, "egg": 1.0}
"""Family of ball -> how often the wide split draws it."""


def _bands(rng: np.random.Generator) -> Marks:
    """About the ball's axis, as gores run from pole to pole."""
    rows = np.arange(64) * int(rng.integers(2, 5)) / 64 % 1 < rng.uniform(0.2, 0.6)
    return np.broadcast_to(rows[:, None], (64, 256))


def _halves(rng: np.random.Generator) -> Marks:
    return np.broadcast_to(np.arange(64)[:, None] < 32, (64, 256))


def _patches(rng: np.random.Generator) -> Marks:
    """Round, at the twelve corners of an icosahedron, as a football has them."""
    v, u = np.meshgrid(np.linspace(np.pi / 2, -np.pi / 2, 96), np.linspace(0, 2 * np.pi, 192), indexing="ij")
    texel = np.stack([np.cos(v) * np.cos(u), np.cos(v) * np.sin(u), np.sin(v)], -1)  # [96, 192, 3]
    golden = (1 + 5**0.5) / 2
    corners = [np.roll((0, a, b * golden), k) for k in range(3) for a in (-1, 1) for b in (-1, 1)]
    near = (texel @ np.array(corners).T).max(-1) / np.hypot(1, golden)
    return np.asarray(near > np.cos(rng.uniform(0.22, 0.4)))


def _gores(rng: np.random.Generator) -> Marks:
    columns = np.arange(256) * int(rng.integers(4, 8)) / 256 % 1 < 0.33
    return np.broadcast_to(columns[None], (64, 256))


_MARKS: dict[str, Callable[[np.random.Generator], Marks]] = {
    "bands": _bands,
    "halves": _halves,
    "patches": _patches,
    "gores": _gores,
}
"""Family of ball -> where its picture has the second colour; the others have a surface as other things have."""


def ball(rng: np.random.Generator, split: str) -> Thing:
    """A toy ball, plain or patterned, in the wide split also marked or an egg; the held-out split has gores."""
    finish = painted(rng, "ball", split, {"plastic": 1}, 0.4)
    radius = rng.uniform(0.025, 0.06)
    family = {"train": "smooth", "held_out": "gores"}.get(split) or pick(rng, _WIDE_BALLS)
    look = surface_of(rng, finish)
    if family in _MARKS:
        picture = np.where(_MARKS[family](rng)[..., None], finish.accent, finish.rgb)
        look = Look.of("plastic", texture=colours.to_bytes(picture))
        finish = Finish(finish.rgb, finish.accent, "plastic", finish.colour, finish.accent_colour or "white")
    squash = rng.uniform(0.62, 0.85) if family == "egg" else 1.0
    parts = [Part(lathe(_sphere_line(radius), 32, (0, 2 * radius), squash), look)]
    return Thing(
        "ball",
        family,
        parts,
        [Collider("sphere", (radius,), (0, 0, radius))],
        radius,
        2 * radius,
        finish,
        0.1,
        True,
        rolls=True,
    )


def apple(rng: np.random.Generator, split: str) -> Thing:
    """An apple with its two hollows and a stalk."""
    finish = painted(rng, "apple", split, {"fruit": 1}, 0.0, ("red", "green", "yellow"))
    family = "tall" if split == "held_out" else "round"
    r = rng.uniform(0.032, 0.045)
    h = r * rng.uniform(*{"train": (1.55, 1.75), "wide": (1.4, 1.8), "held_out": (1.9, 2.1)}[split])
    top = rng.uniform(0.85, 1.1) if split == "wide" else 1.0  # how wide the shoulders are
    line = curve(
        np.array(
            [
                [0, 0.09],
                [0.28, 0.0],
                [0.68, 0.14],
                [0.96, 0.45],
                [top, 0.66],
                [0.78 * top, 0.93],
                [0.4 * top, 1.0],
                [0.15, 0.93],
                [0, 0.84],
            ]
        ),
        26,
    )
    line = np.maximum(line * [r, h], 0)
    line[0, 0] = line[-1, 0] = 0
    lean = rng.uniform(-0.01, 0.01, 2)
    stalk = curve(
        np.array([[0, 0, 0.82 * h], [lean[0] * 0.4, lean[1] * 0.4, h], [*lean, h * rng.uniform(1.1, 1.25)]]), 8
    )
    texture = skin(rng, "apple" if finish.colour == "red" and rng.random() < 0.5 else "orange", finish.rgb)
    parts = [
        Part(lathe(line, 32), Look.of("fruit", texture=texture)),
        Part(sweep(stalk, np.full(8, 0.0018), 6), Look.of("wooden", np.array([0.3, 0.2, 0.1]))),
    ]
    finish = Finish(finish.rgb, finish.accent, "fruit", finish.colour)
    return Thing(
        "apple",
        family,
        parts,
        [Collider("ellipsoid", (r, r, h * 0.5), (0, 0, h * 0.5))],
        r,
        h,
        finish,
        0.15,
        True,
        rolls=True,
    )


def orange(rng: np.random.Generator, split: str) -> Thing:
    """An orange: rough skin, a small green scar."""
    family = "oblate" if split == "held_out" else "round"
    r = rng.uniform(0.033, 0.045)
    squash = rng.uniform(0.94, 1.0) if family == "round" else rng.uniform(0.78, 0.86)
    line = _sphere_line(r, 20) * [1, squash]
    rgb = np.array([rng.uniform(0.9, 0.98), rng.uniform(0.45, 0.56), rng.uniform(0.02, 0.1)])
    scar = lathe([[0.004, -0.0015], [0.0025, 0.0012], [0, 0.0008]], 8).moved((0, 0, 2 * r * squash))
    parts = [
        Part(lathe(line, 32), Look.of("fruit", texture=skin(rng, "orange", rgb))),
        Part(scar, Look.of("fruit", np.array([0.3, 0.36, 0.12]))),
    ]
    finish = Finish(rgb, rgb, "fruit")
    return Thing(
        "orange",
        family,
        parts,
        [Collider("sphere", (r * squash,), (0, 0, r * squash))],
        r,
        2 * r * squash,
        finish,
        0.15,
        True,
        rolls=True,
    )


def banana(rng: np.random.Generator, split: str) -> Thing:
    """A banana on its side: five edges, tapered, bent."""
    families = ("bent", "slim") if split == "train" else ("bent", "slim", "straight")
    family = "stubby" if split == "held_out" else pick(rng, families)
    length = {"bent": 0.19, "slim": 0.21, "straight": 0.17, "stubby": 0.12}[family] * rng.uniform(0.9, 1.1)
    thick = {"bent": 0.017, "slim": 0.0145, "straight": 0.0165, "stubby": 0.0175}[family] * rng.uniform(0.92, 1.08)
    bend = rng.uniform(0.9, 1.5) if family != "straight" else rng.uniform(0.4, 0.9)
    t = np.linspace(-0.5, 0.5, 26)
    path = np.stack([np.sin(t * bend) / bend * length, -(1 - np.cos(t * bend)) / bend * length, 0 * t], 1)
    path[:, 1] -= path[:, 1].mean()
    radii = thick * np.interp(
        t, [-0.5, -0.47, -0.4, -0.22, 0.1, 0.33, 0.42, 0.48, 0.5], [0.02, 0.27, 0.55, 0.95, 1, 0.75, 0.33, 0.3, 0.02]
    )
    path[:, 2] = thick * 0.95
    green = split == "held_out" and rng.random() < 0.2
    rgb = (
        np.array([0.62, 0.72, 0.18])
        if green
        else np.array([rng.uniform(0.88, 0.97), rng.uniform(0.74, 0.83), rng.uniform(0.1, 0.25)])
    )
    parts = [Part(sweep(path, radii, 10), Look.of("fruit", texture=skin(rng, "banana", rgb)))]
    colliders = []
    for i in (4, 10, 16, 21):
        colliders.append(Collider("sphere", (float(radii[i]),), tuple(path[i])))
    finish = Finish(rgb, rgb, "fruit", None if green else "yellow")
    return Thing("banana", family, parts, colliders, length / 2, 2 * thick, finish, 0.15)
