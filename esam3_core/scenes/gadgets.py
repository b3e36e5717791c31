# SPDX-License-Identifier: Apache-2.0
"""Distractors with a plug: keyboard, phone, cable, lamp, headphones, laptop."""

from __future__ import annotations

import numpy as np

from esam3_core.scenes import colours
from esam3_core.scenes.meshes import box, curve, ellipsoid, lathe, sweep
from esam3_core.scenes.models import Collider, Look, Part, Thing, distractor
from esam3_core.scenes.patterns import abstract


def keyboard(rng: np.random.Generator) -> Thing:
    """A keyboard or a remote control."""
    w, d, h = rng.uniform(0.14, 0.4), rng.uniform(0.045, 0.14), rng.uniform(0.012, 0.025)
    picture = np.tile(colours.to_bytes(colours.anything(rng, (0, 0.15), (0.08, 0.85))), (96, 256, 1))
    key = colours.to_bytes(colours.anything(rng, (0, 0.2), (0.08, 0.9)))
    rows, columns = int(rng.integers(3, 6)), max(int(w / d * 5), 3)
    for i in range(rows):
        for j in range(columns):
            y, x = int(6 + i * 84 / rows), int(6 + j * 244 / columns)
            picture[y : y + int(60 / rows), x : x + int(170 / columns)] = key
    look = Look.of("plastic", texture=picture)
    body = Look.of("plastic", colours.anything(rng, (0, 0.15), (0.08, 0.8)))
    parts = [
        Part(box((w, d, h), atlas=False).moved((0, 0, h / 2)), body),
        Part(box((w * 0.98, d * 0.96, 0.004), atlas=False).moved((0, 0, h)), look),
    ]
    return distractor("keyboard", parts, [Collider("box", (w / 2, d / 2, h / 2), (0, 0, h / 2))], w / 2, h)


def phone(rng: np.random.Generator) -> Thing:
    """A telephone or tablet lying with its screen up."""
    w = rng.uniform(0.068, 0.15)
    d, h = w * rng.uniform(1.4, 2.1), 0.009
    screen = np.zeros((96, 64, 3), np.uint8) + rng.integers(5, 25, dtype=np.uint8)
    if rng.random() < 0.5:
        screen[:] = colours.to_bytes(colours.anything(rng, (0.2, 0.8)))
        for _ in range(6):
            x, y = rng.integers(4, 48), rng.integers(4, 80)
            screen[y : y + 12, x : x + 12] = colours.to_bytes(colours.anything(rng, (0.3, 0.9)))
    parts = [
        Part(
            box((w, d, h), atlas=False).moved((0, 0, h / 2)),
            Look.of("plastic", colours.anything(rng, (0, 0.3), (0.04, 0.8))),
        ),
        Part(box((w * 0.93, d * 0.94, 0.001), atlas=False).moved((0, 0, h)), Look(np.ones(3), 1.0, 0.8, 0.9, screen)),
    ]
    return distractor("phone", parts, [Collider("box", (w / 2, d / 2, h / 2), (0, 0, h / 2))], d / 2, h)


def cable(rng: np.random.Generator) -> Thing:
    """A wire that meanders over the table."""
    n = 9
    points = np.cumsum(rng.uniform((-0.058, -0.07), (0.082, 0.07), (n, 2)), 0)
    points -= points.mean(0)
    r = rng.uniform(0.0018, 0.0045)
    path = curve(np.concatenate([points, np.full((n, 1), r)], 1), 60)
    look = Look.of("rubber", colours.anything(rng, (0, 0.8), (0.05, 0.95)))
    return distractor(
        "cable",
        [Part(sweep(path, np.full(60, r), 6), look)],
        [Collider("box", (0.02, 0.02, r), (0, 0, r))],
        float(np.ptp(points)) / 2,
        2 * r,
        0.5,
    )


def lamp(rng: np.random.Generator) -> Thing:
    """A desk lamp."""
    r, h = rng.uniform(0.05, 0.08), rng.uniform(0.2, 0.34)
    shade = lathe([[r * 1.3, 0.65 * h], [r * 0.75, h], [r * 0.7, h], [r * 1.25, 0.65 * h]], 28)
    stem = lathe([[0, 0], [r * 0.9, 0], [r * 0.85, 0.01], [0.008, 0.02], [0.007, 0.7 * h], [0, 0.75 * h]], 24)
    parts = [
        Part(stem, Look.of("metal", colours.anything(rng, (0, 0.4), (0.1, 0.8)))),
        Part(shade, Look.of("paper", colours.anything(rng, (0, 0.5), (0.4, 0.95)))),
    ]
    return distractor("lamp", parts, [Collider("cylinder", (r, h / 2), (0, 0, h / 2))], 1.3 * r, h, 1.0)


def headphones(rng: np.random.Generator) -> Thing:
    """Two pads on a bow, lying flat."""
    r = rng.uniform(0.06, 0.085)
    angle = np.linspace(-0.1, np.pi + 0.1, 30)
    bow = np.stack([r * np.cos(angle), 1.25 * r * np.sin(angle), np.full(30, 0.012)], 1)
    tone = Look.of("plastic", colours.anything(rng, (0, 0.6), (0.05, 0.9)))
    pads = [
        Part(
            ellipsoid((0.018, 0.036, 0.03), 16, 10).moved((s * r, -0.01, 0.03)),
            Look.of("rubber", colours.anything(rng, (0, 0.2), (0.04, 0.5))),
        )
        for s in (-1, 1)
    ]
    return distractor(
        "headphones",
        [Part(sweep(bow, np.tile([0.004, 0.011], (30, 1)), 8), tone), *pads],
        [Collider("box", (r, r * 0.7, 0.02), (0, r * 0.4, 0.02))],
        1.3 * r,
        0.06,
    )


def laptop(rng: np.random.Generator) -> Thing:
    """A laptop, its lid open."""
    w = rng.uniform(0.24, 0.33)
    d, h, lean = w * 0.68, 0.014, np.radians(rng.uniform(5, 35))
    body = Look.of("plastic", colours.anything(rng, (0, 0.12), (0.06, 0.85)))
    keys = np.tile(colours.to_bytes(body.rgb), (64, 96, 1))
    for y in range(6, 40, 8):
        for x in range(6, 88, 7):
            keys[y : y + 6, x : x + 5] = 25
    screen = np.tile(colours.to_bytes(colours.anything(rng, (0, 0.7), (0.05, 0.9))), (64, 96, 1))
    abstract(rng, screen, colours.anything(rng))
    turn = np.array([[1, 0, 0], [0, np.cos(lean), np.sin(lean)], [0, -np.sin(lean), np.cos(lean)]])
    hinge = np.array([0, d / 2, h])
    parts = [
        Part(box((w, d, h), atlas=False).moved((0, 0, h / 2)), body),
        Part(box((w * 0.97, d * 0.96, 0.001), atlas=False).moved((0, 0, h)), Look.of("plastic", texture=keys)),
        Part(box((w, 0.007, d), atlas=False).moved((0, 0, d / 2)).turned(turn.T).moved(hinge), body),
        Part(
            box((w * 0.95, 0.001, d * 0.92), atlas=False).moved((0, -0.0045, d / 2)).turned(turn.T).moved(hinge),
            Look(np.ones(3), 1.0, 0.5, 0.8, screen),
        ),
    ]
    return distractor(
        "laptop",
        parts,
        [
            Collider("box", (w / 2, d / 2, h / 2), (0, 0, h / 2)),
            Collider("box", (w / 2, 0.01, d / 2), (0, d / 2 + 0.03, d / 2)),
        ],
        w / 2 * 1.1,
        d,
        1.5,
    )
