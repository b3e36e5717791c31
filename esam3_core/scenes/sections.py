# SPDX-License-Identifier: Apache-2.0
"""Turned things that are not round seen from above: oval ones and ones with four rounded sides (wide split only)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from esam3_core.scenes.meshes import FloatArray, Mesh
from esam3_core.scenes.models import Collider, Thing

SHARES = {
    "cup": 0.12,
    "mug": 0.12,
    "bowl": 0.25,
    "plate": 0.3,
    "vase": 0.25,
    "glass": 0.15,
    "bottle": 0.35,
    "can": 0.12,
}
"""Kind -> share of its things that are not round."""


def maybe_pressed(rng: np.random.Generator, thing: Thing) -> Thing:
    """The thing, now and then pressed into an oval, into four sides or into both."""
    if thing.kind is None or rng.random() >= SHARES.get(thing.kind, 0.0):
        return thing
    power = float(rng.choice([2.0, 3.0, 4.0, 7.0]))
    squash = float(rng.uniform(0.55, 0.85)) if power == 2.0 or rng.random() < 0.5 else 1.0
    return pressed(thing, power, squash)


def pressed(thing: Thing, power: float, squash: float) -> Thing:
    """The thing with circles of its full radius made |x|^power + |y / squash|^power = 1; its neck stays rounder."""
    parts = [replace(part, mesh=_pressed_mesh(part.mesh, thing.radius, power, squash)) for part in thing.parts]
    colliders = [_pressed_collider(collider, power, squash) for collider in thing.colliders]
    corner = float(_stretch(np.array(np.pi / 4), power))
    return replace(thing, parts=parts, colliders=colliders, radius=thing.radius * corner, rolls=False)


def _stretch(angle: FloatArray, power: float) -> FloatArray:
    """How much farther than a circle the curve |x|^power + |y|^power = 1 lies at an angle."""
    return (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)


def _pressed_mesh(mesh: Mesh, radius: float, power: float, squash: float) -> Mesh:
    x, y, z = mesh.vertices.T
    body = np.clip((np.hypot(x, y) / radius - 0.5) / 0.25, 0, 1)  # 0 at the neck, 1 at the wall
    scale = 1 + body * (_stretch(np.arctan2(y, x), power) - 1)
    vertices = np.stack([x * scale, y * scale * squash, z], 1)
    return Mesh(vertices, _normals(vertices, mesh), mesh.uv, mesh.faces)


def _normals(vertices: FloatArray, mesh: Mesh) -> FloatArray:
    """Those of the faces about each vertex; where none is left, the mesh's own."""
    a, b, c = (vertices[mesh.faces[:, i]] for i in range(3))
    face = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for i in range(3):
        np.add.at(total, mesh.faces[:, i], face)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 1e-14, total / np.maximum(length, 1e-14), mesh.normals)


def _pressed_collider(collider: Collider, power: float, squash: float) -> Collider:
    """A cylinder becomes a box where the thing has sides to lie on."""
    if collider.shape != "cylinder" or (power < 4 and squash == 1.0):
        return collider
    radius, half = collider.size
    return replace(collider, shape="box", size=(radius, radius * squash, half))
