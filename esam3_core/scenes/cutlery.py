# SPDX-License-Identifier: Apache-2.0
"""Fork, knife and spoon, lying along x with the head at +x; a little thicker than real ones so that they show."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from esam3_core.scenes import colours
from esam3_core.scenes.meshes import Mesh, loft, merge, sweep
from esam3_core.scenes.models import Collider, Finish, Look, Part, Thing, painted, pick

_RING = np.linspace(0, 2 * np.pi, 17)


def _blade(
    x: ArrayLike, width: ArrayLike, z: ArrayLike, thick: ArrayLike, hollow: ArrayLike = 0.0, side: ArrayLike = 0.0
) -> Mesh:
    """A flat bar along x: half width, height of the middle, half thickness, hollow (rise of its edges), side shift."""
    x, width, z, thick, hollow, side = (
        np.broadcast_to(np.asarray(a, float), np.shape(x)) for a in (x, width, z, thick, hollow, side)
    )
    cos, sin = np.cos(_RING), np.sin(_RING)
    y = width[:, None] * cos + side[:, None]
    height = z[:, None] + thick[:, None] * sin + hollow[:, None] * cos**2
    rings = np.stack([np.broadcast_to(x[:, None], y.shape), y, height], -1)
    return loft(rings)


_HANDLES = {"rod": 0.0042, "stout": 0.0052, "paddle": 0.002}
"""Family of handle -> half its thickness, m, where that is not 2.4 mm."""


def _handle(rng: np.random.Generator, start: float, end: float, neck: float, family: str) -> Mesh:
    """From the tail (x = start) to the neck (x = end)."""
    x = np.linspace(start, end, 14)
    t = (x - start) / (end - start)
    tail = rng.uniform(0.0085, 0.0115)
    if family == "paddle":
        width = np.interp(t, [0, 0.02, 0.12, 0.4, 1], [0.5 * tail, 1.2 * tail, 1.25 * tail, 0.6 * tail, neck])
    elif family == "rod":
        width = np.interp(t, [0, 0.03, 1], [0.001, 0.5 * tail, max(0.45 * tail, neck)])
    elif family == "stout":
        width = np.interp(t, [0, 0.05, 0.3, 0.75, 1], [0.3 * tail, 1.1 * tail, 1.2 * tail, 1.1 * tail, neck])
    elif family == "straight":
        width = np.interp(t, [0, 0.03, 0.1, 0.85, 1], [0.001, 0.8 * tail, 0.9 * tail, 0.7 * tail, neck])
    else:
        width = np.interp(t, [0, 0.04, 0.16, 0.5, 0.8, 1], [0.001, 0.75 * tail, tail, 0.62 * tail, neck, neck])
    z = 0.004 + 0.007 * np.sin(np.pi * t**1.4)
    return _blade(x, width, z, np.full(14, _HANDLES.get(family, 0.0024)))


_BOWLS = {
    "oval": (0.33, 0.38),
    "round": (0.44, 0.49),
    "egg": (0.35, 0.42),
    "narrow": (0.24, 0.31),
    "drop": (0.33, 0.4),
    "shovel": (0.32, 0.42),
    "square": (0.28, 0.36),
}
"""Family of spoon -> least and largest half width of its bowl, in lengths."""

_TIPS: dict[str, tuple[list[float], list[float]]] = {
    "drop": ([0, 0.1, 0.3, 0.45, 0.7, 0.9, 1], [0.1, 0.62, 0.97, 1.0, 0.72, 0.33, 0.06]),
    "shovel": ([0, 0.15, 0.4, 0.85, 0.96, 1], [0.12, 0.55, 0.85, 1.0, 0.92, 0.7]),
    "square": ([0, 0.08, 0.2, 0.85, 0.97, 1], [0.15, 0.75, 0.97, 1.0, 0.9, 0.6]),
}
"""Family of spoon -> places along the bowl and its width there."""


def _spoon_head(rng: np.random.Generator, x0: float, family: str) -> Mesh:
    length = rng.uniform(0.052, 0.064) if family != "narrow" else rng.uniform(0.056, 0.075)
    length *= rng.uniform(1.0, 1.35) if family in ("shovel", "square") else 1.0
    slim, full = _BOWLS[family]
    half = length * rng.uniform(slim, full)
    t = np.linspace(0, 1, 18)
    widest = {"egg": 0.6, "narrow": 1.0}.get(family, 0.85)  # below 1: nearer to the handle
    width = half * np.sqrt(np.clip(1 - (2 * t**widest - 1) ** 2, 0, 1)).clip(0.08)
    if family in _TIPS:
        width = half * np.interp(t, *_TIPS[family])
    dip = (0.009 if family != "square" else 0.004) * np.sin(np.pi * np.clip(t, 0, 1)) ** 0.8
    return _blade(x0 + t * length, width, 0.0085 * (1 - t) ** 2 + 0.011 - dip, np.full(18, 0.0014), dip * 1.0)


def _fork_head(rng: np.random.Generator, x0: float, tines: int, free: bool = False) -> Mesh:
    """The palm and its tines; free: from a short and broad one to a long and slim one."""
    palm, length = rng.uniform(0.02, 0.026), rng.uniform(0.042, 0.052)
    half = rng.uniform(0.0125, 0.015)
    if free:
        palm, length, half = np.array([palm, length, half]) * rng.uniform((0.7, 0.6, 0.8), (1.5, 1.3, 1.3))
    t = np.linspace(0, 1, 9)
    width = np.interp(t, [0, 0.35, 0.75, 1], [0.004, 0.7 * half, half, half])
    parts = [_blade(x0 + t * palm, width, 0.0085 - 0.0045 * t, np.full(9, 0.0022))]
    gap = 2 * half / tines
    s = np.linspace(0, 1, 10)
    for k in range(tines):
        y = -half + gap * (k + 0.5)
        z = 0.004 + 0.011 * s**1.6
        shape = np.interp(s, [0, 0.7, 0.95, 1], [1, 0.9, 0.5, 0.1])
        path = np.stack([x0 + palm * 0.93 + s * length, np.full(10, y) * (1 - 0.06 * s), z], 1)
        parts.append(sweep(path, np.stack([gap * 0.3 * shape, 0.0021 * shape], 1), 8))
    return merge(parts)


_EDGES: dict[str, tuple[list[float], list[float]]] = {
    "straight": ([0, 0.06, 0.7, 0.92, 1], [0.45, 1.0, 1.0, 0.75, 0.08]),
    "butter": ([0, 0.15, 0.6, 0.95, 1], [0.4, 0.75, 1.05, 1.1, 0.3]),
    "pointed": ([0, 0.05, 0.5, 0.8, 1], [0.6, 1.1, 0.95, 0.55, 0.03]),
    "chef": ([0, 0.02, 0.1, 0.6, 1], [0.5, 1.5, 1.7, 1.2, 0.04]),
    "cleaver": ([0, 0.03, 0.5, 0.97, 1], [1.0, 2.1, 2.3, 2.4, 1.7]),
    "bread": ([0, 0.04, 0.9, 0.97, 1], [0.8, 1.0, 1.0, 0.8, 0.3]),
    "paring": ([0, 0.05, 0.4, 0.8, 1], [0.7, 1.0, 0.85, 0.45, 0.04]),
    "santoku": ([0, 0.03, 0.35, 0.75, 0.93, 1], [0.6, 1.6, 1.65, 1.5, 0.9, 0.1]),
    "palette": ([0, 0.12, 0.25, 0.9, 0.98, 1], [0.4, 0.5, 1.1, 1.25, 0.9, 0.4]),
    "leaf": ([0, 0.1, 0.5, 0.85, 1], [0.4, 0.8, 1.15, 0.9, 0.1]),
}
"""Family of knife -> places along the blade and its width there."""


_LENGTHS = {"bread": 1.4, "paring": 0.7, "santoku": 1.15, "chef": 1.2}
"""Family of knife -> its blade's length in those of a table knife."""


def _knife_head(rng: np.random.Generator, x0: float, family: str) -> Mesh:
    length = rng.uniform(0.095, 0.125) * _LENGTHS.get(family, 1.0)
    t = np.linspace(0, 1, 20)
    deep = rng.uniform(0.0095, 0.0125)
    edge = np.interp(t, *_EDGES[family])
    shift = deep * (edge - 1) * 0.6
    return _blade(x0 + t * length, deep * edge, np.full(20, 0.0045), np.full(20, 0.0016), side=shift)


def _finish(rng: np.random.Generator, kind: str, split: str) -> Finish:
    return painted(rng, kind, split, {"metal": 4, "plastic": 1.6, "wooden": 0.7 if kind != "knife" else 0.0}, 0.0)


def _assemble(
    rng: np.random.Generator, kind: str, split: str, head: Mesh, grip: Mesh, family: str, length: float
) -> Thing:
    finish = _finish(rng, kind, split)
    size = rng.uniform(0.95, 1.3)
    head, grip = (Mesh(m.vertices * size, m.normals, m.uv, m.faces) for m in (head, grip))
    body = (
        Look(np.clip(finish.rgb * 1.05, 0, 1), 1.0, 0.75, 0.5)
        if finish.material == "metal"
        else Look.of(finish.material, finish.rgb)
    )
    grip_look, two = body, finish.material == "metal" and rng.random() < (0.45 if kind == "knife" else 0.2)
    if two:
        grip_look = Look.of("plastic", colours.anything(rng, (0, 0.8), (0.06, 0.85)))
    parts = [Part(head, body), Part(grip, grip_look)]
    points = np.concatenate([p.mesh.vertices for p in parts])
    width = float(np.abs(points[:, 1]).max())
    low, high = points[:, 0].min(), points[:, 0].max()
    middle = (low + high) / 2
    parts = [Part(p.mesh.moved((-middle, 0, 0)), p.look) for p in parts]
    half = (high - low) / 2
    top = float(points[:, 2].max())
    return Thing(
        kind, family, parts, [Collider("box", (half, width, top / 2), (0, 0, top / 2))], half, top, finish, 0.08
    )


_GRIPS = ("waisted", "straight", *_HANDLES)


def _reach(rng: np.random.Generator, split: str, usual: tuple[float, float]) -> float:
    """How long a handle is, m; in the wide split from much shorter to longer."""
    return rng.uniform(*usual) if split != "wide" else rng.uniform(0.6 * usual[0], 1.2 * usual[1])


def fork(rng: np.random.Generator, split: str) -> Thing:
    """Four tines in training, in the wide split now and then two or five; three in the held-out split."""
    family = ("waisted", "straight")[int(rng.integers(2))] if split != "wide" else pick(rng, _GRIPS)
    tines = {"train": 4, "held_out": 3}.get(split) or int(rng.choice([4, 4, 4, 2, 5]))
    return _assemble(
        rng,
        "fork",
        split,
        _fork_head(rng, 0.0, tines, free=split == "wide" and rng.random() < 0.6),
        _handle(rng, -_reach(rng, split, (0.1, 0.13)), 0.001, 0.0042, family),
        f"{family}-{tines}",
        0.19,
    )


def spoon(rng: np.random.Generator, split: str) -> Thing:
    """An oval bowl in training, in the wide split many others; held out: a round one."""
    family = {"train": "oval", "held_out": "round"}.get(split) or pick(rng, ("oval", "egg", "narrow", *_TIPS))
    grip = "waisted" if family != "narrow" else "straight"
    grip = pick(rng, _GRIPS) if split == "wide" else grip
    return _assemble(
        rng,
        "spoon",
        split,
        _spoon_head(rng, 0.0, family),
        _handle(rng, -_reach(rng, split, (0.09, 0.13)), 0.004, 0.0038, grip),
        family,
        0.17,
    )


def knife(rng: np.random.Generator, split: str) -> Thing:
    """A table knife, in the wide split also many for the kitchen; held out: a leaf-shaped blade."""
    more = [family for family in _EDGES if family != "leaf"]
    family = {"train": "straight", "held_out": "leaf"}.get(split) or pick(rng, more)
    grip = pick(rng, _GRIPS) if split == "wide" else "straight"
    return _assemble(
        rng,
        "knife",
        split,
        _knife_head(rng, 0.0, family),
        _handle(rng, -_reach(rng, split, (0.085, 0.11)), 0.003, 0.0065, grip),
        family,
        0.21,
    )
