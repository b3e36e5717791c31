# SPDX-License-Identifier: Apache-2.0
"""Things of outlines that no family has: places along an axis are moved, what lies across it made wider or slimmer.

The free split is the wide one with this on top (docs/bundles/tabletop_fine.md, "Few shapes").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from esam3_core.scenes.meshes import FloatArray, Mesh
from esam3_core.scenes.models import Collider, Thing

_SAMPLES = 65
_WAVES = (0.5, 1.0, 0.7, 0.4)  # shares of how far the width goes: the same everywhere, tapered, waisted, and once more


@dataclass(frozen=True)
class Freedom:
    """How far a kind may be reshaped; all are standard deviations of a logarithm but for shift."""

    axis: int = 2  # along which the width changes: 2 for what stands, 0 for cutlery
    width: float = 0.0
    length: float = 0.0
    shift: float = 0.0  # how far a place may move along the axis, as a share of its length
    each: float = 0.0  # of every side by itself


_VESSEL, _DISH = Freedom(width=0.09, length=0.12, shift=0.06), Freedom(width=0.06, length=0.12, shift=0.04)
_CUTLERY = Freedom(axis=0, width=0.12, length=0.08, shift=0.05)
_CARTON, _FRUIT = Freedom(each=0.15), Freedom(each=0.05)
FREEDOM: dict[str, Freedom] = {
    **dict.fromkeys(("cup", "mug", "glass", "wine glass", "vase", "bottle"), _VESSEL),
    **dict.fromkeys(("bowl", "plate"), _DISH),
    **dict.fromkeys(("fork", "knife", "spoon"), _CUTLERY),
    **dict.fromkeys(("box", "book"), _CARTON),
    **dict.fromkeys(("apple", "orange", "banana"), _FRUIT),
    "can": Freedom(length=0.12),
}
"""Kind -> how far; a ball stays round."""


@dataclass(frozen=True)
class Warp:
    """Places [N] along an axis, in metres, where each of them goes [N], and the factor of each side there [N, 3]."""

    axis: int
    places: FloatArray
    moved: FloatArray
    factors: FloatArray

    def at(self, places: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Where places [V] go [V], the factors there [V, 3], and the slopes of their logarithms [V, 3], 1/m."""
        factors = np.stack([np.interp(places, self.places, f) for f in self.factors.T], -1)
        slopes = np.gradient(np.log(self.factors), self.places, axis=0)
        slopes = np.stack([np.interp(places, self.places, s) for s in slopes.T], -1)
        slopes[:, self.axis] = 0.0
        return np.interp(places, self.places, self.moved), factors, slopes

    def mesh(self, mesh: Mesh) -> Mesh:
        """A mesh, reshaped; its normals stay normal to it."""
        moved, factors, slopes = self.at(mesh.vertices[:, self.axis])
        vertices = mesh.vertices * factors
        vertices[:, self.axis] = moved
        normals = mesh.normals / factors
        lean = (mesh.vertices * mesh.normals * slopes).sum(1)
        normals[:, self.axis] -= lean / factors[:, self.axis]
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        return Mesh(vertices, normals, mesh.uv, mesh.faces)

    def collider(self, collider: Collider) -> Collider:
        """A collider, at its new place and about as large as what it stands for."""
        place = np.array(collider.pos, float)
        moved, factors, _ = self.at(place[self.axis : self.axis + 1])
        place = place * factors[0]
        place[self.axis] = moved[0]
        x, y, z = factors[0]
        if collider.shape in ("cylinder", "capsule"):
            size = np.array(collider.size) * [np.sqrt(x * y), z]
        elif collider.shape == "sphere":
            size = np.array(collider.size) * np.cbrt(x * y * z)
        else:
            size = np.array(collider.size) * factors[0]
        return replace(collider, size=tuple(size.tolist()), pos=tuple(place.tolist()))


def reshaped(rng: np.random.Generator, thing: Thing) -> Thing:
    """The thing, of its own random outline; what has no freedom stays as it is."""
    freedom = FREEDOM.get(thing.kind or "")
    if freedom is None:
        return thing
    points = np.concatenate([p.mesh.vertices for p in thing.parts])
    warp = draw_warp(rng, freedom, float(points[:, freedom.axis].min()), float(points[:, freedom.axis].max()))
    parts = [replace(p, mesh=warp.mesh(p.mesh)) for p in thing.parts]
    before, after = (float(np.linalg.norm(p.mesh.vertices[:, :2], axis=1).max()) for p in (thing.parts[0], parts[0]))
    grown, taller = after / before, float(warp.at(np.array([thing.height]))[0][0] / thing.height)
    return replace(
        thing,
        parts=parts,
        colliders=[warp.collider(c) for c in thing.colliders],
        radius=thing.radius * grown,
        height=thing.height * (taller if freedom.axis == 2 else 1.0),
        flat_top=thing.flat_top * min(1.0, float(warp.factors[:, :2].min())),
    )


def draw_warp(rng: np.random.Generator, freedom: Freedom, low: float, high: float) -> Warp:
    """A random warp of what reaches from low to high along the axis, metres; nought stays nought."""
    share = np.linspace(0, 1, _SAMPLES)
    waves = np.cos(np.pi * np.outer(share, np.arange(len(_WAVES))))  # [N, waves]
    width = waves @ (rng.normal(0, freedom.width, len(_WAVES)) * _WAVES)  # [N]
    sides = np.exp(np.tile(width[:, None], 3) + rng.normal(0, freedom.each, 3))
    if freedom.axis == 0:
        sides[:, 2] = 1.0  # cutlery is as thick as it was
    length = float(np.exp(rng.normal(0, freedom.length)))
    bend = rng.uniform(-freedom.shift, freedom.shift) * np.sin(np.pi * share)
    places = low + (high - low) * share
    moved = length * (places + (high - low) * bend)
    if freedom.each:
        moved = moved * sides[0, freedom.axis]
    sides[:, freedom.axis] = np.gradient(moved, places)
    return Warp(freedom.axis, places, moved, sides)
