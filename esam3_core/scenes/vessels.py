# SPDX-License-Identifier: Apache-2.0
"""Open vessels: cup, mug, bowl, plate, vase, glass, wine glass."""

from __future__ import annotations

import numpy as np

from esam3_core.scenes import colours
from esam3_core.scenes.meshes import FloatArray, Mesh, curve, lathe, sweep
from esam3_core.scenes.models import Collider, Finish, Look, Part, Thing, painted, surface_of
from esam3_core.scenes.outlines import outline
from esam3_core.scenes.profiles import family_of

_CUP_MATERIALS = {"ceramic": 4.0, "plastic": 3.0, "paper": 3.0, "metal": 1.0, "wooden": 0.4}


def _shell(profile: FloatArray, thickness: float, facets: bool = False, segments: int = 36) -> tuple[Mesh, Mesh]:
    """Outer and inner skin of an open vessel whose outline (r, z) runs from foot to rim."""
    height = profile[-1, 1]
    outer = np.concatenate([[[0.0, 0.0]], profile])
    wall = profile[::-1].copy()
    wall[:, 0] = np.maximum(wall[:, 0] - thickness, 0.002)
    wall = wall[wall[:, 1] > thickness]
    lip = [
        [profile[-1, 0], height],
        [profile[-1, 0] - 0.25 * thickness, height + 0.4 * thickness],
        [profile[-1, 0] - 0.75 * thickness, height + 0.4 * thickness],
    ]
    floor = [[wall[-1, 0] * 0.96, thickness], [0.0, thickness]]
    inner = np.concatenate([lip, wall, floor])
    sides = 10 if facets else segments
    return (lathe(outer, sides, (0.0, height), facets=facets), lathe(inner, segments, (0.0, height)))


def _drink(rng: np.random.Generator, profile: FloatArray, thickness: float) -> Part:
    """A level of coffee, tea, milk, juice or water."""
    level = rng.uniform(0.55, 0.9) * profile[-1, 1]
    radius = max(float(np.interp(level, profile[:, 1], profile[:, 0])) - 0.7 * thickness, 0.004)
    tone = [(0.16, 0.08, 0.04), (0.45, 0.24, 0.1), (0.93, 0.9, 0.84), (0.85, 0.5, 0.1), (0.5, 0.12, 0.1)][
        rng.integers(5)
    ]
    surface = lathe([[radius, level - 1e-4], [0.0, level]], 24)
    return Part(surface, Look(np.array(tone), 1.0, 0.5, 0.9))


def _wall_colliders(profile: FloatArray) -> list[Collider]:
    """A floor and eight wall boards, so that things may lie in the vessel."""
    height, rim = float(profile[-1, 1]), float(profile[:, 0].max())
    foot = float(profile[: max(len(profile) // 3, 1), 0].mean())
    floor_half = max(0.12 * height, 0.003)
    parts = [Collider("cylinder", (foot, floor_half), (0, 0, floor_half))]
    for k in range(8):
        angle = 2 * np.pi * k / 8
        mid = (foot + rim) / 2 * 0.98
        lean = np.arctan2(rim - foot, height)
        about_z = np.array([np.cos(angle / 2), 0, 0, np.sin(angle / 2)])
        about_y = np.array([np.cos(lean / 2), 0, np.sin(lean / 2), 0])
        w0, x0, y0, z0 = about_z
        w1, x1, y1, z1 = about_y
        quat = (
            w0 * w1 - z0 * z1 - x0 * x1 - y0 * y1,
            w0 * x1 + x0 * w1 + y0 * z1 - z0 * y1,
            w0 * y1 - x0 * z1 + y0 * w1 + z0 * x1,
            w0 * z1 + x0 * y1 - y0 * x1 + z0 * w1,
        )
        board = (0.003, rim * 0.36, height / 2)
        parts.append(Collider("box", board, (mid * np.cos(angle), mid * np.sin(angle), height / 2), quat))
    return parts


def _solid(profile: FloatArray) -> list[Collider]:
    """One cylinder of the vessel's width."""
    radius = float(np.quantile(profile[:, 0], 0.85))
    return [Collider("cylinder", (radius, profile[-1, 1] / 2), (0, 0, profile[-1, 1] / 2))]


def handle(rng: np.random.Generator, profile: FloatArray, split: str) -> Mesh:
    """A handle at +x that a finger fits through; the splits bend it differently."""
    height = profile[-1, 1]
    wide = float(split == "wide")
    low = rng.uniform(0.14 - 0.06 * wide, 0.28 + 0.14 * wide) * height
    high = rng.uniform(0.74 - 0.06 * wide, 0.88 + 0.06 * wide) * height
    r_low, r_high = (float(np.interp(z, profile[:, 1], profile[:, 0])) for z in (low, high))
    out = max(r_low, r_high) + height * rng.uniform(0.28 - 0.08 * wide, 0.42 + 0.1 * wide)
    mid = (low + high) / 2
    if split == "held_out":  # a pointed ear
        points = [
            (r_high - 0.002, high),
            (out * 0.98, high + 0.03 * height),
            (out * 0.93, mid * 0.9),
            (r_low - 0.002, low),
        ]
    elif (shape := rng.random()) < (0.3 if wide else 0.4):  # a square loop
        points = [
            (r_high - 0.002, high),
            (out * 0.97, high),
            (out, high - 0.15 * height),
            (out, low + 0.15 * height),
            (out * 0.97, low),
            (r_low - 0.002, low),
        ]
    elif wide and shape < 0.5:  # a D, deepest below
        points = [
            (r_high - 0.002, high),
            ((out + r_high) / 2, high - 0.04 * height),
            (out, mid - 0.12 * height),
            ((out + r_low) / 2, low - 0.03 * height),
            (r_low - 0.002, low),
        ]
    elif wide and shape < 0.62:  # a hook that is open below
        points = [
            (r_high - 0.002, high),
            ((out + r_high) / 2, high + 0.04 * height),
            (out, mid + 0.1 * height),
            (out * 0.97, mid - 0.08 * height),
            (out * 0.9, low + 0.06 * height),
        ]
    elif wide and shape < 0.72:  # a small ring near the rim
        out = r_high + height * rng.uniform(0.2, 0.3)
        drop = 0.36 * height
        points = [
            (r_high - 0.002, high),
            ((2 * out + r_high) / 3, high),
            (out, high - drop / 2),
            ((2 * out + r_high) / 3, high - drop),
            (r_high - 0.004, high - drop),
        ]
    elif wide and shape < 0.8:  # a bow that rises above the rim
        points = [
            (r_high - 0.002, high),
            ((out + r_high) / 2, high + 0.22 * height),
            (out, high + 0.08 * height),
            (out * 0.97, mid),
            (r_low - 0.002, low),
        ]
    else:  # a round loop
        points = [
            (r_high - 0.002, high),
            ((out + r_high) / 2, high + 0.02 * height),
            (out, mid + 0.1 * height),
            (out * 0.98, mid - 0.1 * height),
            ((out + r_low) / 2, low - 0.02 * height),
            (r_low - 0.002, low),
        ]
    path = curve(np.array(points), 22)
    thick = height * rng.uniform(0.045 - 0.01 * wide, 0.07 + 0.02 * wide)
    xyz = np.stack([path[:, 0], 0 * path[:, 0], path[:, 1]], 1)
    return sweep(xyz, np.tile([thick * rng.uniform(0.9, 1.4), thick * 0.8], (len(xyz), 1)), 10, up=(0, 1, 0))


def _inside(rng: np.random.Generator, finish: Finish) -> Look:
    if finish.material == "glass":
        return Look.of("glass", finish.rgb, alpha=0.22)
    if finish.material in ("metal", "wooden"):
        return Look.of(finish.material, colours.shade(finish.rgb, 0.85))
    if finish.material == "paper" or (finish.material == "ceramic" and rng.random() < 0.45):
        return Look.of(finish.material, np.array([0.93, 0.92, 0.9]))
    return Look.of(finish.material, finish.rgb)


def turned(
    rng: np.random.Generator, kind: str, split: str, finish: Finish, thickness: float, hollow: bool = False
) -> tuple[Thing, FloatArray]:
    """A vessel of a random family of its kind, and its outline (r, z) [N, 2]; hollow: things may lie in it."""
    name, family = family_of(rng, kind, split)
    profile, _, height = outline(rng, family)
    outer, inner = _shell(profile, thickness, family.facets)
    parts = [Part(outer, surface_of(rng, finish)), Part(inner, _inside(rng, finish))]
    colliders = _wall_colliders(profile) if hollow else _solid(profile)
    radius = float(profile[:, 0].max())
    return Thing(kind, name, parts, colliders, radius, height, finish, can_topple=True), profile


def cup(rng: np.random.Generator, split: str) -> Thing:
    """A tumbler, beaker or paper cup: no handle, opaque."""
    finish = painted(rng, "cup", split, _CUP_MATERIALS, 0.4)
    thickness = 0.0012 if finish.material == "paper" else 0.0028
    thing, profile = turned(rng, "cup", split, finish, thickness)
    if rng.random() < 0.35:
        thing.parts.append(_drink(rng, profile, thickness))
    elif finish.material == "paper" and rng.random() < 0.3:
        thing.parts.append(
            Part(
                _lid(profile),
                Look.of("plastic", colours.shade(finish.rgb, 0.9) if rng.random() < 0.3 else np.full(3, 0.9)),
            )
        )
    return thing


def _lid(profile: FloatArray) -> Mesh:
    r, h = float(profile[-1, 0]), float(profile[-1, 1])
    return lathe(
        [
            [r + 0.002, h - 0.004],
            [r + 0.0025, h + 0.003],
            [r * 0.94, h + 0.004],
            [r * 0.88, h + 0.012],
            [r * 0.8, h + 0.012],
            [r * 0.78, h + 0.008],
            [0, h + 0.008],
        ],
        36,
    )


def mug(rng: np.random.Generator, split: str) -> Thing:
    """A cup with a handle."""
    finish = painted(rng, "mug", split, {"ceramic": 6, "metal": 1, "plastic": 1}, 0.4)
    thing, profile = turned(rng, "mug", split, finish, 0.0035)
    loop = handle(rng, profile, split)
    look = Look.of(finish.material, finish.accent if finish.accent_colour and rng.random() < 0.2 else finish.rgb)
    thing.parts.append(Part(loop, look))
    reach = float(loop.vertices[:, 0].max())
    z = loop.vertices[:, 2]
    half = (reach - thing.radius) / 2
    thing.colliders.append(
        Collider("box", (half, 0.005, float(np.ptp(z)) / 2), (thing.radius + half, 0, float(z.mean())))
    )
    if rng.random() < 0.4:
        thing.parts.append(_drink(rng, profile, 0.0035))
    return thing


def bowl(rng: np.random.Generator, split: str) -> Thing:
    """A bowl; other things may lie in it."""
    finish = painted(rng, "bowl", split, {"ceramic": 5, "wooden": 1, "metal": 1, "plastic": 1.5}, 0.4)
    thing, _ = turned(rng, "bowl", split, finish, 0.004, hollow=True)
    thing.can_topple = False
    return thing


def plate(rng: np.random.Generator, split: str) -> Thing:
    """A plate; its pattern shows on the upper side."""
    finish = painted(rng, "plate", split, {"ceramic": 6, "plastic": 1, "paper": 1, "wooden": 0.4}, 0.35)
    thing, profile = turned(rng, "plate", split, finish, 0.004)
    thing.parts[1] = Part(thing.parts[1].mesh, _plate_top(rng, finish))
    thing.can_topple = False
    foot, height = float(profile[0, 0]), thing.height
    thing.colliders = [
        Collider("cylinder", (foot, height * 0.3), (0, 0, height * 0.3)),
        Collider("cylinder", (thing.radius * 0.97, height * 0.2), (0, 0, height * 0.75)),
    ]
    thing.flat_top = foot * 0.8
    return thing


def _plate_top(rng: np.random.Generator, finish: Finish) -> Look:
    if finish.material == "wooden":
        return surface_of(rng, finish)
    rows = np.tile(finish.rgb, (64, 64, 1))
    if finish.pattern == "plain" and rng.random() < 0.4:  # a thin coloured line near the rim
        rows[int(rng.integers(8, 20))] = finish.accent
    if finish.pattern != "plain":
        return surface_of(rng, finish, (96, 384))
    return Look.of(finish.material, texture=colours.to_bytes(rows))


def vase(rng: np.random.Generator, split: str) -> Thing:
    """A vase with a belly or a trumpet, now and then with flowers."""
    finish = painted(rng, "vase", split, {"ceramic": 6, "glass": 0.7, "metal": 0.5}, 0.45)
    thing, profile = turned(rng, "vase", split, finish, 0.003)
    if rng.random() < 0.35:
        thing.parts += stalks(rng, thing.height, float(profile[-1, 0]))
        thing.can_topple = False
    return thing


def stalks(rng: np.random.Generator, height: float, spread: float) -> list[Part]:
    """Flowers that stand in something of this height."""
    parts = []
    green = colours.named(rng, "green")
    bloom = colours.anything(rng, (0.4, 0.9), (0.6, 0.95))
    for _ in range(int(rng.integers(2, 6))):
        angle, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 1.0) * spread + 0.02
        top = np.array([np.cos(angle) * lean * 2, np.sin(angle) * lean * 2, height * rng.uniform(1.3, 1.75)])
        path = curve(np.array([[0, 0, height * 0.4], [top[0] * 0.3, top[1] * 0.3, height], top]), 10)
        parts.append(Part(sweep(path, np.full(10, 0.0018), 6), Look.of("fruit", green)))
        ball = lathe([[0, -0.012], [0.011, -0.006], [0.016, 0.004], [0.007, 0.009], [0, 0.006]], 9).moved(top)
        parts.append(Part(ball, Look.of("paper", bloom)))
    return parts
