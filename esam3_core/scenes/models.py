# SPDX-License-Identifier: Apache-2.0
"""What an object is made of: parts with a look, colliders, and the words that are true of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from esam3_core.scenes import colours, textures, vocabulary
from esam3_core.scenes.meshes import Mesh
from esam3_core.scenes.patterns import decorate

Picture = NDArray[np.uint8]

_SHINE = {  # material -> (specular, shininess)
    "ceramic": (0.45, 0.75),
    "plastic": (0.3, 0.45),
    "metal": (0.8, 0.6),
    "wooden": (0.08, 0.2),
    "paper": (0.03, 0.1),
    "cardboard": (0.03, 0.1),
    "glass": (0.9, 0.9),
    "skin": (0.08, 0.2),
    "cloth": (0.0, 0.1),
    "fruit": (0.2, 0.4),
    "rubber": (0.12, 0.3),
}


@dataclass(frozen=True)
class Look:
    """Colour (rgb 0..1), opacity, gloss and picture of a surface; the picture is multiplied by rgb."""

    rgb: colours.Rgb
    alpha: float = 1.0
    specular: float = 0.2
    shininess: float = 0.4
    texture: Picture | None = None

    @staticmethod
    def of(material: str, rgb: colours.Rgb | None = None, texture: Picture | None = None, alpha: float = 1.0) -> Look:
        """The look of a material; with a texture the colour defaults to white, so that the picture shows unchanged."""
        specular, shininess = _SHINE[material]
        return Look(np.ones(3) if rgb is None else rgb, alpha, specular, shininess, texture)


@dataclass(frozen=True)
class Part:
    """One mesh with one look."""

    mesh: Mesh
    look: Look


@dataclass(frozen=True)
class Collider:
    """A primitive that physics sees: shape cylinder|box|sphere|capsule|ellipsoid, MuJoCo half sizes, place."""

    shape: str
    size: tuple[float, ...]
    pos: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Finish:
    """Colour, pattern and material of an object, and their names (None where no phrase may use them)."""

    rgb: colours.Rgb
    accent: colours.Rgb
    material: str
    colour: str | None = None
    accent_colour: str | None = None
    pattern: str = "plain"


@dataclass
class Thing:
    """An object to put on the table: origin under its middle, z up, resting height 0."""

    kind: str | None  # None: a distractor that no phrase names
    family: str
    parts: list[Part]
    colliders: list[Collider]
    radius: float  # m, footprint
    height: float  # m
    finish: Finish
    mass: float = 0.25  # kg
    can_topple: bool = False
    flat_top: float = 0.0  # m, radius of a top that something may stand on
    rolls: bool = False
    quat: NDArray[np.float64] = field(default_factory=lambda: np.array([1.0, 0, 0, 0]))

    @property
    def size(self) -> float:
        """The largest extent, metres."""
        return max(2 * self.radius, self.height)


def pick(rng: np.random.Generator, options: dict[str, float] | tuple[str, ...] | list[str]) -> str:
    """One of the options, by weight where they have one."""
    names = list(options)
    weights = np.array(list(options.values()), float) if isinstance(options, dict) else np.ones(len(names))
    return names[int(rng.choice(len(names), p=weights / weights.sum()))]


def colour_for(rng: np.random.Generator, kind: str, split: str, allowed: tuple[str, ...] | None = None) -> str:
    """A colour name for this kind that the split may show (see vocabulary.HELD_OUT_PAIRS)."""
    names = list(allowed or vocabulary.COLOURS)
    held = [n for n in names if (n, kind) in vocabulary.HELD_OUT_PAIRS]
    if split == "held_out" and held and rng.random() < 0.5:
        return held[int(rng.integers(len(held)))]
    free = [n for n in names if n not in held]
    return free[int(rng.integers(len(free)))]


def painted(
    rng: np.random.Generator,
    kind: str,
    split: str,
    materials: dict[str, float],
    patterned: float = 0.35,
    allowed: tuple[str, ...] | None = None,
) -> Finish:
    """A random finish for a kind: material by weight, a colour the split allows, sometimes a pattern."""
    material = pick(rng, materials)
    if material == "metal":
        return Finish(colours.metal(rng), colours.metal(rng), "metal")
    if material == "wooden":
        return Finish(colours.wood(rng), colours.wood(rng), "wooden")
    if material == "glass":
        tint = colours.anything(rng, (0.0, 0.35 if rng.random() < 0.35 else 0.06), (0.75, 0.95))
        return Finish(tint, tint, "glass")
    name = colour_for(rng, kind, split, allowed)
    others = [c for c in vocabulary.COLOURS if c != name and (c, name) not in _CLOSE and (name, c) not in _CLOSE]
    accent = "white" if "white" in others and rng.random() < 0.5 else others[int(rng.integers(len(others)))]
    if (accent, kind) in vocabulary.HELD_OUT_PAIRS and split != "held_out":
        accent = "white" if name != "white" else "grey"
    pattern = "plain"
    if rng.random() < patterned:
        pattern = pick(rng, vocabulary.PATTERNS[1:])
    return Finish(
        colours.named(rng, name),
        colours.named(rng, accent),
        material,
        name,
        accent if pattern != "plain" else None,
        pattern,
    )


_CLOSE = {
    ("red", "orange"),
    ("orange", "yellow"),
    ("pink", "red"),
    ("purple", "blue"),
    ("black", "grey"),
    ("brown", "orange"),
    ("white", "grey"),
    ("brown", "black"),
    ("pink", "purple"),
    ("brown", "red"),
}


def surface_of(rng: np.random.Generator, finish: Finish, size: tuple[int, int] = (128, 256)) -> Look:
    """The look of a patterned, brushed or grained surface that wraps round an object."""
    if finish.material == "metal":
        return Look.of("metal", texture=_brushed(rng, finish.rgb, size))
    if finish.material == "wooden":
        field = textures.noise(rng, size, 3, 3, stretch=20)
        return Look.of("wooden", texture=textures.blend(colours.shade(finish.rgb, 0.75), finish.rgb, 0.5 + 0.3 * field))
    if finish.material == "glass":
        return Look.of("glass", finish.rgb, alpha=0.3)
    if finish.pattern == "plain":
        return Look.of(finish.material, finish.rgb)
    return Look.of(finish.material, texture=decorate(rng, finish.pattern, finish.rgb, finish.accent, size))


def _brushed(rng: np.random.Generator, rgb: colours.Rgb, size: tuple[int, int]) -> Picture:
    """Metal: the soft bright and dark bands that a room leaves on it, fixed to the surface."""
    u = np.linspace(0, 2 * np.pi, size[1], dtype=np.float32)[None]
    band = sum(rng.uniform(0.3, 1) * np.cos(k * u + rng.uniform(0, 6.3)) for k in (1, 2, 3, 5))
    v = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    tone = 0.84 + 0.13 * band + 0.08 * v * rng.choice([-1, 1]) + 0.015 * rng.standard_normal(size, np.float32)
    return colours.to_bytes(np.clip(rgb * tone[..., None], 0, 1))


_UNNAMED = Finish(np.full(3, 0.5), np.full(3, 0.5), "plastic")


def distractor(
    family: str, parts: list[Part], colliders: list[Collider], radius: float, height: float, mass: float = 0.3
) -> Thing:
    """A thing that no phrase names."""
    return Thing(None, family, parts, colliders, radius, height, _UNNAMED, mass)
