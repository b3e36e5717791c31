# SPDX-License-Identifier: Apache-2.0
"""Closed things: bottle, can, box, book."""

from __future__ import annotations

import numpy as np

from esam3_core.scenes import colours
from esam3_core.scenes.closures import CLOSURES, closure
from esam3_core.scenes.meshes import Mesh, box, lathe, merge
from esam3_core.scenes.models import Collider, Finish, Look, Part, Thing, colour_for, painted, pick, surface_of
from esam3_core.scenes.outlines import outline
from esam3_core.scenes.patterns import band_label, carton, cover, decorate
from esam3_core.scenes.profiles import family_of


def bottle(rng: np.random.Generator, split: str) -> Thing:
    """A closed bottle with a cap: coloured plastic, or glass with something in it; often a label."""
    finish = painted(rng, "bottle", split, {"plastic": 4, "glass": 2.5, "metal": 0.8}, 0.15)
    if finish.material == "glass":
        tint = [(0.1, 0.3, 0.13), (0.32, 0.16, 0.05), (0.85, 0.9, 0.9), (0.2, 0.32, 0.12)][rng.integers(4)]
        finish = Finish(np.array(tint), np.array(tint), "glass")
    name, family = family_of(rng, "bottle", split)
    profile, radius, height = outline(rng, family, 30)
    closed = np.concatenate([[[0.0, 0.0]], profile, [[0.0, height]]])
    parts = []
    if finish.material == "glass":
        clear = finish.rgb.min() > 0.5
        parts.append(Part(lathe(closed, 32), Look.of("glass", finish.rgb, alpha=0.35 if clear else 0.82)))
        if clear:
            full = profile[profile[:, 1] < height * rng.uniform(0.5, 0.85)] * [0.93, 1] + [0, 0.003]
            drink = np.concatenate([[[0, full[0, 1]]], full, [[0, full[-1, 1]]]])
            tone = [(0.3, 0.1, 0.04), (0.75, 0.4, 0.06), (0.7, 0.82, 0.9), (0.3, 0.02, 0.05)][rng.integers(4)]
            parts.insert(0, Part(lathe(drink, 28), Look(np.array(tone), 0.75, 0.3, 0.7)))
        if rng.random() < 0.7:
            parts.append(_sleeve(rng, profile, height))
    else:
        look = surface_of(rng, finish, (192, 256))
        if finish.material == "plastic" and finish.pattern == "plain" and rng.random() < 0.6:
            texture = decorate(rng, "plain", finish.rgb, finish.accent, (192, 256))
            top = rng.uniform(0.45, 0.6)
            band_label(
                rng,
                texture,
                top,
                top + rng.uniform(0.18, 0.3),
                finish.accent,
                colours.anything(rng),
                rng.choice([0.45, 1.0]),
            )
            look = Look.of("plastic", texture=texture)
        parts.append(Part(lathe(closed, 32, (0, height)), look))
    neck = float(profile[-1, 0])
    cap, cap_h = closure(rng, neck, height, pick(rng, CLOSURES) if split == "wide" else "screw")
    parts.append(Part(cap, Look.of("plastic", colours.anything(rng, (0, 0.9), (0.1, 0.9)))))
    height += cap_h * 0.3
    body = height * 0.32
    colliders = [
        Collider("cylinder", (radius, body), (0, 0, body)),
        Collider("cylinder", (neck * 1.1, height / 2), (0, 0, height / 2)),
    ]
    return Thing("bottle", name, parts, colliders, radius, height, finish, 0.4, can_topple=True)


def _sleeve(rng: np.random.Generator, profile: np.ndarray, height: float) -> Part:
    """A paper label round a glass bottle."""
    low = rng.uniform(0.12, 0.2) * height
    high = low + rng.uniform(0.2, 0.33) * height
    z = np.linspace(low, high, 6)
    line = np.stack([np.interp(z, profile[:, 1], profile[:, 0]) + 0.0006, z], 1)
    texture = np.full((96, 256, 3), 240, np.uint8)
    band_label(
        rng,
        texture,
        0.0,
        1.0,
        colours.anything(rng, (0, 0.5), (0.6, 0.95)),
        colours.anything(rng, (0.3, 0.9), (0.1, 0.7)),
    )
    return Part(lathe(line, 32, (low, high)), Look.of("paper", texture=texture))


def can(rng: np.random.Generator, split: str) -> Thing:
    """A drink can or a food tin: coloured print round it, bare metal ends."""
    finish = painted(rng, "can", split, {"plastic": 1}, 0.3)
    finish = Finish(finish.rgb, finish.accent, "metal", finish.colour, finish.accent_colour, finish.pattern)
    name, family = family_of(rng, "can", split)
    profile, radius, height = outline(rng, family)
    texture = decorate(rng, finish.pattern, finish.rgb, finish.accent)
    if finish.pattern == "plain" and rng.random() < 0.75:
        top = rng.uniform(0.2, 0.4)
        band_label(
            rng,
            texture,
            top,
            top + rng.uniform(0.25, 0.4),
            colours.shade(finish.rgb, rng.choice([0.75, 1.0, 1.5])),
            finish.accent,
            1.0,
        )
    tin = Look.of("metal", np.full(3, rng.uniform(0.68, 0.8)))
    edge = max(0.025 * height, 0.002)
    r_top, r_foot = float(profile[-1, 0]), float(profile[0, 0])
    ends = merge(
        [
            lathe(
                [
                    [r_top * 1.03, height - edge],
                    [r_top * 1.03, height],
                    [r_top * 0.95, height],
                    [r_top * 0.93, height - 1.4 * edge],
                    [0, height - 1.4 * edge],
                ],
                32,
            ),
            lathe([[0, 0.001], [r_foot * 0.98, 0], [r_foot * 1.02, edge]], 32),
        ]
    )
    parts = [Part(lathe(profile, 36, (0, height)), Look.of("plastic", texture=texture)), Part(ends, tin)]
    if name in ("drink", "beer", "slim"):
        tab = box((r_top * 0.5, r_top * 0.28, 0.0015), atlas=False).moved((r_top * 0.2, 0, height - 0.6 * edge))
        hole = lathe([[r_top * 0.25, 0], [0, 0.0004]], 16).moved((-r_top * 0.45, 0, height - 1.35 * edge))
        parts += [Part(tab, tin), Part(hole, Look.of("metal", np.full(3, 0.12)))]
    colliders = [Collider("cylinder", (radius, height / 2), (0, 0, height / 2))]
    return Thing(
        "can", name, parts, colliders, radius, height, finish, 0.35, can_topple=True, flat_top=radius * 0.7, rolls=True
    )


_MORE_BOXES = {
    "slab": ((0.12, 0.02, 0.16), (0.2, 0.05, 0.28)),
    "block": ((0.08, 0.06, 0.08), (0.16, 0.12, 0.16)),
    "pizza": ((0.2, 0.2, 0.028), (0.3, 0.3, 0.05)),
    "matchbox": ((0.04, 0.03, 0.012), (0.08, 0.055, 0.025)),
    "lidded": ((0.08, 0.07, 0.05), (0.22, 0.14, 0.13)),
}
"""Family of the wide split -> smallest and largest sides, m; drawn after the others, so that those stay as they are."""


def carton_box(rng: np.random.Generator, split: str) -> Thing:
    """A box: printed carton, bare cardboard, or an open one with flaps (held out: long ones)."""
    usual = ("tall", "cube", "flat")
    family = "long" if split == "held_out" else pick(rng, usual if split == "train" else (*usual, *_MORE_BOXES))
    size = {
        "tall": rng.uniform((0.06, 0.03, 0.12), (0.13, 0.07, 0.24)),
        "cube": rng.uniform(0.06, 0.15) * rng.uniform(0.85, 1.15, 3),
        "flat": rng.uniform((0.1, 0.08, 0.03), (0.22, 0.16, 0.06)),
        "long": rng.uniform((0.18, 0.05, 0.05), (0.28, 0.08, 0.08)),
    }.get(family, np.zeros(3))
    if family in _MORE_BOXES:
        size = rng.uniform(*_MORE_BOXES[family])
    bare = rng.random() < 0.3
    if bare:
        brown = np.array([0.72, 0.54, 0.36]) * rng.uniform(0.8, 1.08)
        finish = Finish(brown, colours.shade(brown, 0.6), "cardboard")
        texture = carton(rng, brown, finish.accent, False)
    else:
        base = painted(rng, "box", split, {"plastic": 1}, 0.25)
        finish = Finish(base.rgb, base.accent, "carton", base.colour, base.accent_colour, base.pattern)
        texture = (
            carton(rng, finish.rgb, finish.accent, True)
            if base.pattern == "plain"
            else decorate(rng, base.pattern, base.rgb, base.accent, (192, 288))
        )
    look = Look.of("cardboard", texture=texture)
    half = size / 2
    if family == "lidded":
        lid = size * [1.03, 1.03, rng.uniform(0.2, 0.5)]
        lid_look = look if rng.random() < 0.5 else Look.of("cardboard", colours.anything(rng, (0, 0.9), (0.1, 0.95)))
        top = float(size[2] + 0.002 - lid[2] / 2)
        parts = [Part(box(size).moved((0, 0, half[2])), look), Part(box(lid, atlas=False).moved((0, 0, top)), lid_look)]
    elif rng.random() < 0.25 and size[2] > 0.05:
        parts = [Part(m, look) for m in _open_box(size)]
    else:
        parts = [Part(box(size).moved((0, 0, half[2])), look)]
    colliders = [Collider("box", tuple(half), (0, 0, half[2]))]
    return Thing(
        "box",
        family,
        parts,
        colliders,
        float(np.hypot(half[0], half[1])),
        float(size[2]),
        finish,
        0.3,
        True,
        float(min(half[:2]) * 0.8),
    )


def _open_box(size: np.ndarray) -> list[Mesh]:
    """Four walls, a floor and flaps that stand open."""
    x, y, z = size
    t = 0.003
    walls = [
        box((x, t, z)).moved((0, -y / 2 + t / 2, z / 2)),
        box((x, t, z)).moved((0, y / 2 - t / 2, z / 2)),
        box((t, y - 2 * t, z)).moved((-x / 2 + t / 2, 0, z / 2)),
        box((t, y - 2 * t, z)).moved((x / 2 - t / 2, 0, z / 2)),
        box((x, y, t)).moved((0, 0, t / 2)),
    ]
    lean = np.radians(50)
    depth = 0.42 * y
    for sign in (-1, 1):
        a = sign * lean
        turn = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        flap = box((x, t, depth)).moved((0, 0, depth / 2)).turned(turn)
        walls.append(flap.moved((0, -sign * y / 2, z)))
    return walls


_MORE_BOOKS = {
    "pocket": ((0.08, 1.4, 0.012), (0.1, 1.7, 0.035)),
    "square": ((0.12, 0.95, 0.01), (0.19, 1.15, 0.03)),
    "brick": ((0.11, 1.2, 0.05), (0.16, 1.6, 0.085)),
    "magazine": ((0.17, 1.25, 0.004), (0.22, 1.45, 0.01)),
}
"""Family of the wide split -> smallest and largest width, m, depth / width, and thickness, m."""


def book(rng: np.random.Generator, split: str) -> Thing:
    """A closed book lying on its back: cover, spine on the left, pages on three sides."""
    usual = ("paperback", "hardback")
    family = "folio" if split == "held_out" else pick(rng, usual if split == "train" else (*usual, *_MORE_BOOKS))
    width = rng.uniform(0.1, 0.16) if family != "folio" else rng.uniform(0.19, 0.24)
    depth = width * (rng.uniform(1.3, 1.55) if family != "folio" else rng.uniform(0.75, 0.95))
    thick = rng.uniform(0.014, 0.05)
    if family in _MORE_BOOKS:
        width, ratio, thick = rng.uniform(*_MORE_BOOKS[family])
        depth = width * ratio
    name = colour_for(rng, "book", split)
    base = colours.named(rng, name)
    accent = colours.anything(rng, (0, 0.8), (0.1, 0.98))
    finish = Finish(base, accent, "paper", name)
    soft = family in ("paperback", "pocket", "magazine")
    over = 0.003 if not soft else 0.0
    board = 0.0022 if not soft else 0.0012
    face = cover(rng, base, accent)
    plain = Look.of("paper", base)
    lid = _face_up(width, depth, board).moved((0, 0, thick))
    parts = [
        Part(lid, Look.of("plastic", texture=face)),
        Part(box((width, depth, board), atlas=False).moved((0, 0, board / 2)), plain),
        Part(box((board, depth, thick), atlas=False).moved((-width / 2 + board / 2, 0, thick / 2)), plain),
        Part(
            box((width - over - board, depth - 2 * over, thick - 2 * board), atlas=False).moved(
                (-(over - board) / 2, 0, thick / 2)
            ),
            Look.of("paper", texture=_pages(rng)),
        ),
    ]
    colliders = [Collider("box", (width / 2, depth / 2, thick / 2), (0, 0, thick / 2))]
    return Thing(
        "book",
        family,
        parts,
        colliders,
        float(np.hypot(width, depth) / 2),
        thick,
        finish,
        0.5,
        True,
        min(width, depth) * 0.4,
    )


def _face_up(width: float, depth: float, thick: float) -> Mesh:
    """A slab under z = 0 whose whole picture lies on top; its edges show the picture's left border."""
    slab = box((width, depth, thick), atlas=True).moved((0, 0, -thick / 2))
    uv = slab.uv.copy()
    uv[:, 0] = 0.01
    uv[8:12] = [(0, 0), (1, 0), (1, 1), (0, 1)]
    return Mesh(slab.vertices, slab.normals, uv, slab.faces)


def _pages(rng: np.random.Generator) -> np.ndarray:
    lines = rng.uniform(0.78, 0.96, 48)[:, None, None] * np.array([0.98, 0.96, 0.9])
    return colours.to_bytes(np.broadcast_to(lines, (48, 16, 3)))
