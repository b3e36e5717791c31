# SPDX-License-Identifier: Apache-2.0
"""Table, floor, walls, furniture and lights round the things."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from esam3_core.scenes import colours, textures
from esam3_core.scenes.assembly import Assembly
from esam3_core.scenes.backdrops import backdrop
from esam3_core.scenes.meshes import box, ellipsoid, lathe, sheet
from esam3_core.scenes.models import Look, Part

FLOOR = -0.74  # m, the table top is z = 0


@dataclass(frozen=True)
class Room:
    """Half sizes of the table top (x, y) and how far from the middle the camera may go, metres."""

    table: tuple[float, float]
    reach: float
    counter: bool  # a wall stands at the table's far side (+y)


def furnish(rng: np.random.Generator, split: str, assembly: Assembly, fast: bool) -> Room:
    """Put a table into a room."""
    body = assembly.spec.worldbody
    half = (rng.uniform(0.45, 0.9), rng.uniform(0.33, 0.55))
    counter = bool(rng.random() < 0.25)
    cells = 10 if fast else 16
    thick = rng.uniform(0.015, 0.05)
    size = (256, 256) if fast else (384, 384)
    favoured = ("planks", "cloth", "plain") if rng.random() < 0.6 else ()
    top = Look(np.ones(3), 1.0, rng.uniform(0, 0.25), 0.5, textures.surface(rng, split, size, favoured))
    assembly.show(body, Part(sheet(2 * half[0], 2 * half[1], cells, thick), top), shadow=False)
    dull = Look(
        np.full(3, 0.3), specular=0.0
    )  # a board inside the table throws its shadow: the top itself would speckle
    assembly.show(body, Part(box((1.98 * half[0], 1.98 * half[1], 0.004), atlas=False), dull), (0, 0, -thick + 0.003))
    assembly.solid((2 * half[0], 2 * half[1], 0.3), (0, 0, -0.15))
    wall = rng.uniform(1.9, 3.2)
    floor = Look(np.ones(3) * rng.uniform(0.6, 1.0), texture=textures.surface(rng, split, (256, 256)), specular=0.05)
    assembly.show(body, Part(sheet(2 * wall, 2 * wall, 6), floor), (0, 0, FLOOR), shadow=False)
    _walls(rng, split, assembly, wall, half[1] + 0.02 if counter else wall)
    for _ in range(int(rng.integers(0, 5 if fast else 9))):
        _furniture(rng, split, assembly, half, wall, counter)
    if not fast and rng.random() < 0.3:
        _person(rng, split, assembly, half)
    return Room(half, wall - 0.25, counter)


def _person(rng: np.random.Generator, split: str, assembly: Assembly, half: tuple[float, float]) -> None:
    """Somebody at the left or right end of the table: trunk, neck, head, hair, an upper arm."""
    side = float(rng.choice([-1, 1]))
    shirt = Look(np.ones(3), specular=0.0, texture=textures.surface(rng, split, (128, 128), ("cloth", "plain")))
    tone = Look.of("skin", colours.skin(rng))
    hair = Look(colours.anything(rng, (0.1, 0.6), (0.03, 0.4)), specular=0.1)
    parts = [
        Part(ellipsoid((0.2, 0.13, 0.34), 24, 16, 0.75).moved((0, 0, 0.12)), shirt),
        Part(lathe([[0.055, 0.4], [0.05, 0.54]], 16), tone),
        Part(ellipsoid((0.078, 0.095, 0.12), 20, 14).moved((0, 0.01, 0.62)), tone),
        Part(ellipsoid((0.085, 0.1, 0.1), 20, 12).moved((0, -0.02, 0.66)), hair),
    ]
    parts += [Part(ellipsoid((0.055, 0.07, 0.2), 16, 12, 0.8).moved((s * 0.22, 0.04, 0.2)), shirt) for s in (-1, 1)]
    yaw = side * np.pi / 2 + rng.normal(0, 0.3)
    place = (side * (half[0] + rng.uniform(0.2, 0.4)), rng.uniform(-0.25, 0.25), -0.05)
    for part in parts:
        assembly.show(assembly.spec.worldbody, part, place, (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)))


def _walls(rng: np.random.Generator, split: str, assembly: Assembly, wall: float, far: float) -> None:
    """Four walls; often all of one kind. The far one may stand right behind the table."""
    height = 2.6
    shared = backdrop(rng, split) if rng.random() < 0.3 else None
    panel = sheet(2 * wall, height, 8, 0.01)
    places = [((0, far, 0), 0.0), ((-wall, 0, 0), np.pi / 2), ((wall, 0, 0), -np.pi / 2), ((0, -wall, 0), np.pi)]
    for (x, y, _), yaw in places:
        look = Look(np.ones(3), specular=0.0, texture=shared if shared is not None else backdrop(rng, split))
        upright = np.array([np.cos(np.pi / 4), np.sin(np.pi / 4), 0, 0])
        turn = np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
        quat = np.zeros(4)
        mujoco.mju_mulQuat(quat, turn, upright)
        assembly.show(assembly.spec.worldbody, Part(panel, look), (x, y, FLOOR + height / 2), quat, shadow=False)


def _furniture(
    rng: np.random.Generator, split: str, assembly: Assembly, half: tuple[float, float], wall: float, counter: bool
) -> None:
    """A big vague thing beside or behind the table."""
    angle = rng.uniform(0, 2 * np.pi)
    away = rng.uniform(1.25, wall)
    x, y = away * np.cos(angle), away * np.sin(angle)
    if counter and y > 0:
        return
    tall, wide = rng.uniform(0.4, 1.3 if y > 0.8 else 0.8), rng.uniform(0.2, 0.9)
    style = rng.random()
    if style < 0.4:
        look = Look(np.ones(3), specular=0.05, texture=backdrop(rng, split, (96, 128)))
        mesh = box((wide, wide * 0.6, tall), atlas=False)
    else:
        look = Look(colours.anything(rng, (0, 0.6), (0.1, 0.85)), specular=0.05)
        mesh = (
            box((wide, wide * 0.6, tall), atlas=False)
            if style < 0.75
            else lathe([[0, -tall / 2], [wide / 2, -tall / 2], [wide / 2.5, tall / 2], [0, tall / 2]], 20)
        )
    assembly.show(
        assembly.spec.worldbody,
        Part(mesh, look),
        (x, y, FLOOR + tall / 2),
        (np.cos(angle / 2), 0, 0, np.sin(angle / 2)),
        shadow=False,
    )


@dataclass(frozen=True)
class Lights:
    """softness: blur of shadow edges, pixels at half size."""

    softness: float


def illuminate(rng: np.random.Generator, assembly: Assembly, fast: bool) -> Lights:
    """One to three lights and an ambient part; together they never exceed full white."""
    spec = assembly.spec
    ambient, key, fill = rng.uniform(0.28, 0.5), rng.uniform(0.35, 0.65), rng.uniform(0.05, 0.25)
    total = ambient + key + fill
    level = rng.uniform(0.92, 1.06) / total
    warm = rng.uniform(-1, 1)
    tint = np.array([1 + 0.08 * warm, 1.0, 1 - 0.13 * warm])
    tint /= tint.max()
    spec.visual.headlight.ambient = tint * ambient * level
    spec.visual.headlight.diffuse = [0, 0, 0]
    spec.visual.headlight.specular = [0, 0, 0]
    azimuth, tilt = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(8, 58))
    direction = -np.array([np.sin(tilt) * np.cos(azimuth), np.sin(tilt) * np.sin(azimuth), np.cos(tilt)])
    lamp = not fast and rng.random() < 0.25  # a lamp over the table instead of the sky
    key_light = spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_SPOT if lamp else mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=True,
        pos=-(1.6 if lamp else 2.0) * direction,
        dir=direction,
        ambient=[0, 0, 0],
        diffuse=np.clip(tint * key * level * (1.3 if lamp else 1.0), 0, 0.8),
        specular=tint * rng.uniform(0.25, 0.7),
    )
    if lamp:
        key_light.cutoff, key_light.exponent = rng.uniform(40, 60), rng.uniform(1, 8)
    count = 1 if fast else int(rng.integers(1, 3))
    for _ in range(count):
        side = rng.uniform(0, 2 * np.pi)
        low = np.radians(rng.uniform(30, 75))
        other = -np.array([np.sin(low) * np.cos(side), np.sin(low) * np.sin(side), np.cos(low)])
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            castshadow=False,
            pos=-2.0 * other,
            dir=other,
            ambient=[0, 0, 0],
            diffuse=np.clip(tint[::-1] * fill * level / count, 0, 1),
            specular=tint * 0.25,
        )
    return Lights(rng.uniform(0.4, 1.8))
