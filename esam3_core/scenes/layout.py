# SPDX-License-Identifier: Apache-2.0
"""What stands on the table, and where."""

from __future__ import annotations

import numpy as np

from esam3_core.config import SceneConfig
from esam3_core.scenes.catalogue import draw_kind, make
from esam3_core.scenes.distractors import DISTRACTORS
from esam3_core.scenes.meshes import FloatArray
from esam3_core.scenes.models import Thing

UPSIDE_DOWN = ("cup", "mug", "bowl", "glass")


def draw_things(rng: np.random.Generator, config: SceneConfig) -> list[Thing]:
    """Named things and distractors for one world; look-alike twins are common."""
    kinds = list(config.kinds)
    if not kinds and rng.random() >= config.empty:
        kinds = _random_kinds(rng, int(rng.integers(config.objects[0], config.objects[1] + 1)))
    things: list[Thing] = []
    for kind in kinds:
        same = [t for t in things if t.kind == kind]
        if same and not config.kinds and rng.random() < 0.2:
            things.append(_copy(same[-1]))
        else:
            things.append(make(rng, kind, config.split))
    makers = DISTRACTORS[config.surroundings]
    least = config.distractors[0] if things else max(config.distractors[0], 2)
    most = max(config.distractors[1], least)
    for _ in range(int(rng.integers(least, most + 1))):
        things.append(makers[int(rng.integers(len(makers)))](rng))
    return things


def _copy(thing: Thing) -> Thing:
    return Thing(
        thing.kind,
        thing.family,
        thing.parts,
        thing.colliders,
        thing.radius,
        thing.height,
        thing.finish,
        thing.mass,
        thing.can_topple,
        thing.flat_top,
        thing.rolls,
    )


def _random_kinds(rng: np.random.Generator, count: int) -> list[str]:
    """Sometimes all alike, sometimes a laid table, mostly anything."""
    style = rng.random()
    if style < 0.12:
        return [draw_kind(rng)] * count
    if style < 0.24:
        setting = ["plate", "fork", "knife", "spoon", "glass", "bowl", "mug", "wine glass", "cup"]
        return [setting[int(rng.integers(len(setting)))] for _ in range(count)]
    kinds: list[str] = []
    for _ in range(count):
        kinds.append(kinds[int(rng.integers(len(kinds)))] if kinds and rng.random() < 0.3 else draw_kind(rng))
    return kinds


def _times(a: FloatArray, b: FloatArray) -> FloatArray:
    """Product of two quaternions (w, x, y, z)."""
    w0, x0, y0, z0 = a
    w1, x1, y1, z1 = b
    return np.array(
        [
            w0 * w1 - x0 * x1 - y0 * y1 - z0 * z1,
            w0 * x1 + x0 * w1 + y0 * z1 - z0 * y1,
            w0 * y1 - x0 * z1 + y0 * w1 + z0 * x1,
            w0 * z1 + x0 * y1 - y0 * x1 + z0 * w1,
        ]
    )


def _about(axis: int, angle: float) -> FloatArray:
    quat = np.array([np.cos(angle / 2), 0.0, 0.0, 0.0])
    quat[1 + axis] = np.sin(angle / 2)
    return quat


def pose(rng: np.random.Generator, thing: Thing, toppled: float) -> tuple[FloatArray, float]:
    """Orientation and the height of the origin that go together: mostly upright, now and then lying or upside down."""
    yaw = _about(2, rng.uniform(0, 2 * np.pi))
    if thing.kind == "book" and rng.random() < 0.15:
        return _times(yaw, _about(0, np.pi / 2)), max(c.size[1] for c in thing.colliders) + 0.002
    if not thing.can_topple or rng.random() >= toppled:
        return yaw, 0.002
    if thing.kind in UPSIDE_DOWN and rng.random() < 0.5:
        return _times(yaw, _about(0, np.pi)), thing.height + 0.002
    if thing.kind in ("ball", "apple", "orange"):
        turn = rng.standard_normal(4)
        return turn / np.linalg.norm(turn), thing.height
    return _times(yaw, _about(0, np.pi / 2)), thing.radius + 0.004


def place(
    rng: np.random.Generator, things: list[Thing], table: tuple[float, float], config: SceneConfig
) -> list[FloatArray]:
    """A free place for each thing: qpos (x, y, z, quaternion) [7]; some stand on or lie in others."""
    area = sum((2 * t.radius) ** 2 for t in things)
    extent = np.sqrt(area) * (0.68 if config.kinds else rng.uniform(0.5, 1.15)) + 0.05
    half = np.minimum([extent, extent], np.array(table) - 0.08)
    centre = rng.uniform(-1, 1, 2) * np.maximum(np.array(table) - 0.12 - half, 0) * 0.6
    spots: list[FloatArray] = []
    loads = [False] * len(things)
    carried: dict[int, int] = {}
    for i, thing in enumerate(things):
        base = [j for j in range(i) if not loads[j] and j not in carried and _carries(things[j], thing)]
        quat, z = pose(rng, thing, config.toppled)
        if base and not config.kinds and rng.random() < 0.22:
            j = base[int(rng.integers(len(base)))]
            flat = things[j].flat_top > 0 and abs(spots[j][2]) < 0.01
            if flat or things[j].kind == "bowl":
                loads[j] = True
                carried[i] = j
                up = things[j].height if things[j].kind != "plate" else things[j].height * 0.65
                rise = (up if things[j].kind != "bowl" else things[j].height * 0.5) + 0.004
                spots.append(np.array([*spots[j][:2], spots[j][2] + rise + z, *quat]))
                continue
        spots.append(np.array([*_free_spot(rng, thing, things, spots, centre, half), z, *quat]))
    return spots


def _carries(lower: Thing, upper: Thing) -> bool:
    if lower.kind == "bowl":
        return upper.kind in ("apple", "orange", "ball") and upper.radius < 0.6 * lower.radius
    return lower.flat_top > 0 and upper.kind is not None and upper.radius < 1.2 * lower.flat_top and upper.height < 0.16


def _free_spot(
    rng: np.random.Generator,
    thing: Thing,
    things: list[Thing],
    spots: list[FloatArray],
    centre: FloatArray,
    half: FloatArray,
) -> FloatArray:
    best, room = centre, -np.inf
    for _ in range(24):
        spot = centre + rng.uniform(-1, 1, 2) * half
        gaps = [
            np.hypot(*(spot - other[:2])) - 0.92 * (thing.radius + t.radius)
            for t, other in zip(things, spots, strict=False)
        ]
        gap = min(gaps, default=1.0)
        if gap > room:
            best, room = spot, gap
        if gap > 0 and rng.random() < 0.8:
            break
    return best
