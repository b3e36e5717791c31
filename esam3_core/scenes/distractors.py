# SPDX-License-Identifier: Apache-2.0
"""Things without a phrase: the network must learn to leave them alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from esam3_core.scenes import colours
from esam3_core.scenes.gadgets import cable, headphones, keyboard, lamp, laptop, phone
from esam3_core.scenes.meshes import box, curve, ellipsoid, lathe, sweep
from esam3_core.scenes.models import Collider, Look, Part, Thing, distractor
from esam3_core.scenes.patterns import abstract
from esam3_core.scenes.textures import noise


def blob(rng: np.random.Generator) -> Thing:
    """A lump: a stone, a potato, a bun."""
    r = rng.uniform((0.025, 0.02, 0.015), (0.07, 0.05, 0.035))
    mesh = ellipsoid(r, 18, 12, rng.uniform(0.6, 1.0)).moved((0, 0, r[2]))
    wobble = 1 + 0.12 * np.sin(mesh.vertices @ rng.uniform(-90, 90, (3, 3))).sum(1, keepdims=True) / 3
    mesh = type(mesh)(mesh.vertices * wobble, mesh.normals, mesh.uv, mesh.faces)
    base = colours.anything(rng, (0.05, 0.5), (0.2, 0.8))
    picture = np.clip(base * (1 + 0.2 * noise(rng, (64, 128), 12))[..., None], 0, 1)
    return distractor(
        "blob",
        [Part(mesh, Look.of("paper", texture=colours.to_bytes(picture)))],
        [Collider("ellipsoid", tuple(r), (0, 0, r[2]))],
        float(r[0]),
        float(2 * r[2]),
    )


def bricks(rng: np.random.Generator) -> Thing:
    """A few plastic building blocks, one on another, with studs."""
    unit = rng.uniform(0.01, 0.018)
    parts, z = [], 0.0
    for _ in range(int(rng.integers(1, 5))):
        nx, ny = int(rng.integers(1, 5)), int(rng.integers(1, 3))
        look = Look.of("plastic", colours.anything(rng, (0.6, 0.95), (0.5, 0.95)))
        shift = rng.integers(-1, 2, 2) * unit
        parts.append(
            Part(
                box((nx * unit, ny * unit, unit * 1.1), atlas=False).moved((shift[0], shift[1], z + unit * 0.55)), look
            )
        )
        for i in range(nx):
            for j in range(ny):
                stud = lathe([[0.32 * unit, 0], [0.32 * unit, 0.2 * unit], [0, 0.2 * unit]], 10)
                parts.append(
                    Part(
                        stud.moved(
                            (shift[0] + (i - (nx - 1) / 2) * unit, shift[1] + (j - (ny - 1) / 2) * unit, z + 1.1 * unit)
                        ),
                        look,
                    )
                )
        z += 1.1 * unit
    return distractor("bricks", parts, [Collider("box", (1.6 * unit, unit, z / 2), (0, 0, z / 2))], 2 * unit, z)


def plant(rng: np.random.Generator) -> Thing:
    """A pot plant: leaves that stand out from a pot."""
    r = rng.uniform(0.035, 0.07)
    h = r * rng.uniform(1.3, 1.8)
    pot = lathe(
        [
            [0, 0],
            [0.7 * r, 0],
            [r, 0.85 * h],
            [1.12 * r, 0.85 * h],
            [1.12 * r, h],
            [0.95 * r, h],
            [0.9 * r, 0.88 * h],
            [0, 0.88 * h],
        ],
        28,
    )
    clay = np.array([0.62, 0.33, 0.22]) if rng.random() < 0.6 else colours.anything(rng)
    parts = [Part(pot, Look.of("paper", clay))]
    green = colours.named(rng, "green") * rng.uniform(0.6, 1.1)
    for _ in range(int(rng.integers(6, 16))):
        a, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 2.6) * r
        top = h + rng.uniform(0.3, 2.6) * r
        path = curve(
            np.array(
                [
                    [0, 0, 0.8 * h],
                    [0.45 * reach * np.cos(a), 0.45 * reach * np.sin(a), top],
                    [reach * np.cos(a), reach * np.sin(a), top * rng.uniform(0.8, 1.05)],
                ]
            ),
            12,
        )
        wide = r * rng.uniform(0.12, 0.35) * np.sin(np.pi * np.linspace(0.02, 0.98, 12)) + 0.0008
        parts.append(
            Part(
                sweep(path, np.stack([wide, np.full(12, 0.0012)], 1), 8),
                Look.of("fruit", np.clip(green * rng.uniform(0.8, 1.2), 0, 1)),
            )
        )
    return distractor("plant", parts, [Collider("cylinder", (r, h / 2), (0, 0, h / 2))], 1.3 * r, 2.5 * h, 0.6)


def kettle(rng: np.random.Generator) -> Thing:
    """A kettle or teapot: belly, spout, hoop, knob."""
    r = rng.uniform(0.06, 0.085)
    h = r * rng.uniform(1.3, 2.0)
    line = curve(
        np.array([[0.92, 0], [1, 0.25], [0.95, 0.6], [0.65, 0.95], [0.2, 1.0], [0.06, 1.02], [0.12, 1.1], [0, 1.14]]),
        28,
    ) * [r, h]
    rgb = colours.metal(rng) if rng.random() < 0.5 else colours.anything(rng, (0, 0.8), (0.1, 0.9))
    look = Look.of("metal" if rng.random() < 0.5 else "ceramic", rgb)
    spout = curve(np.array([[0.8 * r, 0, 0.4 * h], [1.25 * r, 0, 0.55 * h], [1.5 * r, 0, 0.95 * h]]), 12)
    hoop = curve(
        np.array([[-0.75 * r, 0, 0.85 * h], [-1.5 * r, 0, 0.9 * h], [-1.6 * r, 0, 0.5 * h], [-0.95 * r, 0, 0.25 * h]]),
        18,
    )
    parts = [
        Part(lathe(np.concatenate([[[0, 0]], np.maximum(line, 0)]), 32), look),
        Part(sweep(spout, np.linspace(0.2, 0.11, 12) * r, 10), look),
        Part(sweep(hoop, np.full(18, 0.09 * r), 8), Look.of("plastic", colours.anything(rng, (0, 0.3), (0.05, 0.4)))),
    ]
    return distractor("kettle", parts, [Collider("cylinder", (r, h / 2), (0, 0, h / 2))], 1.5 * r, 1.15 * h, 1.0)


def tool(rng: np.random.Generator) -> Thing:
    """A pen, screwdriver, brush or whisk: long, thin, not cutlery."""
    length = rng.uniform(0.1, 0.24)
    r = rng.uniform(0.003, 0.011)
    x = np.linspace(-length / 2, length / 2, 24)
    t = np.linspace(0, 1, 24)
    radii = np.where(t < rng.uniform(0.35, 0.7), r, r * rng.uniform(0.3, 0.8))
    radii[[0, -1]] = 0.0005
    radii[-2] *= 0.6
    path = np.stack([x, 0 * x, np.full(24, r)], 1)
    tones = np.where(
        (t < rng.uniform(0.3, 0.8))[:, None],
        colours.anything(rng, (0, 0.95), (0.05, 0.95)),
        colours.anything(rng, (0, 0.6), (0.1, 0.9)),
    )
    picture = colours.to_bytes(np.repeat(np.repeat(tones, 2, 0)[:, None], 8, 1))
    return distractor(
        "tool",
        [Part(sweep(path, radii, 10), Look.of("plastic", texture=picture))],
        [Collider("box", (length / 2, r, r), (0, 0, r))],
        length / 2,
        2 * r,
        0.1,
    )


def paper(rng: np.random.Generator) -> Thing:
    """A sheet, a napkin, a mat, an envelope."""
    w = rng.uniform(0.09, 0.3)
    d = w * rng.uniform(0.7, 1.45)
    picture = np.tile(
        colours.to_bytes(colours.anything(rng, (0, 0.35 if rng.random() < 0.6 else 0.8), (0.5, 0.97))), (96, 96, 1)
    )
    if rng.random() < 0.6:
        abstract(rng, picture, colours.anything(rng, (0, 0.7), (0.05, 0.6)))
    return distractor(
        "paper",
        [Part(box((w, d, 0.0016), atlas=False).moved((0, 0, 0.0012)), Look.of("paper", texture=picture))],
        [Collider("box", (w / 2, d / 2, 0.001), (0, 0, 0.001))],
        max(w, d) / 2,
        0.003,
        0.3,
    )


def polyhedron(rng: np.random.Generator) -> Thing:
    """A facetted lump with flat sides: a toy, a crystal, a wooden block."""
    r = rng.uniform(0.018, 0.05)
    sides = int(rng.integers(3, 8))
    waist = rng.uniform(0.4, 1.0, 2)
    h = r * rng.uniform(0.7, 2.2)
    mesh = lathe(
        [[0, 0], [r * waist[0], 0], [r, h * rng.uniform(0.2, 0.8)], [r * waist[1], h], [0, h]], sides, facets=True
    )
    look = (
        Look.of("plastic", colours.anything(rng, (0, 0.95), (0.1, 0.95)))
        if rng.random() < 0.6
        else Look.of("wooden", colours.wood(rng))
    )
    return distractor("polyhedron", [Part(mesh, look)], [Collider("cylinder", (r * 0.9, h / 2), (0, 0, h / 2))], r, h)


def pan(rng: np.random.Generator) -> Thing:
    """A frying pan or a pot with a long handle."""
    r, h = rng.uniform(0.08, 0.12), rng.uniform(0.03, 0.08)
    body = lathe([[0, 0], [0.85 * r, 0], [r, h], [0.97 * r, h], [0.82 * r, 0.004], [0, 0.004]], 32)
    path = np.stack([np.linspace(r * 0.97, r * 2.4, 14), np.zeros(14), h * 0.85 + 0.02 * np.linspace(0, 1, 14)], 1)
    radii = np.tile([0.011, 0.006], (14, 1))
    radii[-1] = 0.001
    parts = [
        Part(body, Look.of("metal", colours.anything(rng, (0, 0.2), (0.06, 0.6)))),
        Part(sweep(path, radii, 8), Look.of("plastic", colours.anything(rng, (0, 0.4), (0.05, 0.4)))),
    ]
    return distractor(
        "pan",
        parts,
        [
            Collider("cylinder", (r, h / 2), (0, 0, h / 2)),
            Collider("box", (0.7 * r, 0.012, 0.008), (1.7 * r, 0, h * 0.9)),
        ],
        1.7 * r,
        h,
        0.8,
    )


def candle(rng: np.random.Generator) -> Thing:
    """A solid candle or block of wax with a wick: round, but nothing to drink from."""
    r = rng.uniform(0.018, 0.04)
    h = r * rng.uniform(1.5, 5)
    body = lathe([[0, 0], [r, 0], [r, 0.97 * h], [0.93 * r, h], [0, 0.985 * h]], 28)
    wick = lathe([[0.0012, 0.98 * h], [0.001, h + 0.009], [0, h + 0.01]], 6)
    parts = [
        Part(body, Look.of("rubber", colours.anything(rng, (0, 0.7), (0.5, 0.97)))),
        Part(wick, Look.of("paper", np.full(3, 0.1))),
    ]
    return distractor("candle", parts, [Collider("cylinder", (r, h / 2), (0, 0, h / 2))], r, h)


Maker = Callable[[np.random.Generator], Thing]
DISTRACTORS: dict[str, tuple[Maker, ...]] = {
    "train": (blob, bricks, keyboard, phone, cable, plant, kettle, lamp, tool, paper, polyhedron, laptop, candle, pan),
    "held_out": (blob, bricks, cable, tool, paper, phone, headphones, candle),
}
"""Split -> makers; headphones appear in the held-out split only."""
