# SPDX-License-Identifier: Apache-2.0
"""Triangle meshes from curves: lathe, sweep, loft, box. Metres, z up, outward faces counter-clockwise.

Texture coordinates: u grows to the right as seen from outside, v = 0 is the top row of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Mesh:
    """Vertices [V, 3], normals [V, 3], texture coordinates [V, 2], faces [F, 3]."""

    vertices: FloatArray
    normals: FloatArray
    uv: FloatArray
    faces: NDArray[np.int32]

    def moved(self, offset: ArrayLike) -> Mesh:
        """The same mesh, shifted by offset [3]."""
        return Mesh(self.vertices + np.asarray(offset), self.normals, self.uv, self.faces)

    def turned(self, rotation: FloatArray) -> Mesh:
        """The same mesh, rotated by a matrix [3, 3]."""
        return Mesh(self.vertices @ rotation.T, self.normals @ rotation.T, self.uv, self.faces)


def merge(meshes: list[Mesh]) -> Mesh:
    """One mesh out of several."""
    starts = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
        np.concatenate([m.faces + s for m, s in zip(meshes, starts, strict=True)]).astype(np.int32),
    )


def _unit(vectors: FloatArray) -> FloatArray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)


def _grid_faces(rows: int, columns: int) -> NDArray[np.int32]:
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    c, d = index[1:, 1:].ravel(), index[1:, :-1].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]).astype(np.int32)


def _drop_slivers(mesh: Mesh) -> Mesh:
    p = mesh.vertices[mesh.faces]  # [F, 3, 3]
    area = np.linalg.norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), axis=1)
    return Mesh(mesh.vertices, mesh.normals, mesh.uv, mesh.faces[area > 1e-12])


def curve(points: ArrayLike, samples: int) -> FloatArray:
    """A smooth curve (Catmull-Rom, centripetal enough for profiles) through points [N, D] -> [samples, D]."""
    p = np.asarray(points, float)
    p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    t = np.linspace(0, len(p) - 3 - 1e-9, samples)
    i = t.astype(int)
    f = (t - i)[:, None]
    p0, p1, p2, p3 = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (2 * p1 + (p2 - p0) * f + (2 * p0 - 5 * p1 + 4 * p2 - p3) * f**2 + (3 * (p1 - p2) + p3 - p0) * f**3)


def _split_corners(profile: FloatArray, limit: float) -> tuple[FloatArray, FloatArray]:
    """Points and outward normals (r, z) of a profile; a corner sharper than limit (radians) appears twice."""
    step = _unit(np.diff(profile, axis=0))
    flat = np.stack([step[:, 1], -step[:, 0]], 1)  # normal of each segment, right of its direction
    points, normals = [profile[0]], [flat[0]]
    for i in range(1, len(profile) - 1):
        if np.dot(step[i - 1], step[i]) < np.cos(limit):
            points += [profile[i], profile[i]]
            normals += [flat[i - 1], flat[i]]
        else:
            points.append(profile[i])
            normals.append(_unit(flat[i - 1] + flat[i]))
    return np.array([*points, profile[-1]]), np.array([*normals, flat[-1]])


def lathe(
    profile: ArrayLike | list[Any],
    segments: int = 36,
    v_range: tuple[float, float] | None = None,
    squash: float = 1.0,
    facets: bool = False,
) -> Mesh:
    """Turn a profile (r, z) [P, 2] round z, its outer side to the right of its direction (go up the outside).

    Args:
        profile: metres.
        segments: of the circle.
        v_range: the z at v = 1 and at v = 0; None takes the length along the profile from end to start.
        squash: y is multiplied by it (an oval for values below 1).
        facets: flat sides instead of a round one.
    """
    p = np.asarray(profile, float)
    keep = np.r_[True, np.linalg.norm(np.diff(p, axis=0), axis=1) > 1e-6]
    points, flat = _split_corners(p[keep], np.radians(35))
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    if facets:
        angle = np.repeat(angle, 2)[1:-1]
        middle = np.repeat((angle[0::2] + angle[1::2]) / 2, 2)
    else:
        middle = angle
    r, z = points[:, :1], points[:, 1:]
    vertices = np.stack([r * np.cos(angle), r * np.sin(angle) * squash, z + 0 * angle], -1)
    normals = np.stack(
        [flat[:, :1] * np.cos(middle), flat[:, :1] * np.sin(middle) / squash, flat[:, 1:] + 0 * middle], -1
    )
    if v_range is None:
        length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        v = 1 - length / length[-1]
    else:
        v = 1 - (points[:, 1] - v_range[0]) / (v_range[1] - v_range[0])
    uv = np.stack(np.broadcast_arrays(angle / (2 * np.pi), v[:, None]), -1)
    return _drop_slivers(
        Mesh(
            vertices.reshape(-1, 3),
            _unit(normals.reshape(-1, 3)),
            uv.reshape(-1, 2),
            _grid_faces(len(points), len(angle)),
        )
    )


def sweep(path: ArrayLike, radii: ArrayLike, segments: int = 12, up: ArrayLike = (0.0, 0.0, 1.0)) -> Mesh:
    """A tube along path [N, 3] with radii [N] or (sideways, upward) [N, 2]; caps come from radii that fall to 0."""
    p = np.asarray(path, float)
    r = np.asarray(radii, float)
    r = np.stack([r, r], 1) if r.ndim == 1 else r
    tangent = _unit(np.gradient(p, axis=0))
    side = np.cross(tangent, np.asarray(up, float))
    bad = np.linalg.norm(side, axis=1) < 1e-3
    side[bad] = np.cross(tangent[bad], [0.31, 0.95, 0.05])
    side = _unit(side)
    for i in range(1, len(side)):  # no flips along the path
        if np.dot(side[i], side[i - 1]) < 0:
            side[i] = -side[i]
    over = np.cross(side, tangent)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    cos, sin = np.cos(angle)[None, :, None], np.sin(angle)[None, :, None]
    rings = p[:, None] + side[:, None] * cos * r[:, None, :1] + over[:, None] * sin * r[:, None, 1:]
    return loft(rings)


def loft(rings: FloatArray, flip: bool = False) -> Mesh:
    """Skin over closed rings [N, M, 3] (first and last point of a ring equal); smooth normals, u round, v along."""
    n, m = rings.shape[:2]
    along = np.gradient(rings, axis=0)
    around = np.gradient(rings, axis=1)
    around[:, 0] = around[:, -1] = (rings[:, 1] - rings[:, -2]) / 2
    normals = np.cross(around, along)
    weak = np.linalg.norm(normals, axis=-1) < 1e-14
    centre = rings.mean(1, keepdims=True)
    axis = np.broadcast_to(np.gradient(centre, axis=0), rings.shape)
    ends = np.zeros((n, 1, 1))
    ends[0], ends[-1] = -1, 1
    normals = np.where(weak[..., None], axis * ends + (rings - centre), _unit(normals))
    u, v = np.meshgrid(np.linspace(0, 1, m), np.linspace(0, 1, n))
    mesh = Mesh(
        rings.reshape(-1, 3), _unit(normals.reshape(-1, 3)), np.stack([u, v], -1).reshape(-1, 2), _grid_faces(n, m)
    )
    p = mesh.vertices[mesh.faces]
    volume = np.einsum("ij,ij->", p[:, 0] - rings.mean((0, 1)), np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]))
    if (volume < 0) != flip:
        mesh = Mesh(mesh.vertices, mesh.normals, mesh.uv, np.ascontiguousarray(mesh.faces[:, ::-1]))
    if (
        np.einsum("ij,ij->", np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), mesh.normals[mesh.faces[:, 0]])
        * (1 if volume > 0 else -1)
        < 0
    ):
        mesh = Mesh(mesh.vertices, -mesh.normals, mesh.uv, mesh.faces)
    return _drop_slivers(mesh)


def ellipsoid(radii: ArrayLike, segments: int = 20, rings: int = 14, power: float = 1.0) -> Mesh:
    """A (super)ellipsoid round the origin; power below 1 is boxier."""
    a, b, c = np.asarray(radii, float)
    angle = np.linspace(-np.pi / 2, np.pi / 2, rings)
    r = np.cos(angle).clip(0) ** power
    z = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * c
    mesh = lathe(np.stack([a * r, z], 1), segments, squash=b / a)
    return mesh


def box(size: ArrayLike, atlas: bool = True) -> Mesh:
    """A box of size (x, y, z) round the origin.

    The picture is an atlas of 3 x 2 cells: front (-y), right (+x), top (+z) over back (+y), left (-x), bottom (-z);
    with atlas=False each side shows the whole picture.
    """
    x, y, z = np.asarray(size, float) / 2
    corners = {  # top-left, top-right, bottom-right, bottom-left as seen from outside
        "front": [(-x, -y, z), (x, -y, z), (x, -y, -z), (-x, -y, -z)],
        "right": [(x, -y, z), (x, y, z), (x, y, -z), (x, -y, -z)],
        "top": [(-x, y, z), (x, y, z), (x, -y, z), (-x, -y, z)],
        "back": [(x, y, z), (-x, y, z), (-x, y, -z), (x, y, -z)],
        "left": [(-x, y, z), (-x, -y, z), (-x, -y, -z), (-x, y, -z)],
        "bottom": [(-x, -y, -z), (x, -y, -z), (x, y, -z), (-x, y, -z)],
    }
    vertices, normals, uv, faces = [], [], [], []
    for i, quad in enumerate(corners.values()):
        q = np.array(quad, float)
        u0, v0, du, dv = (i % 3 / 3, i // 3 / 2, 1 / 3, 1 / 2) if atlas else (0.0, 0.0, 1.0, 1.0)
        inset = 0.004
        u1, v1 = u0 + du - inset, v0 + dv - inset
        u0, v0 = u0 + inset, v0 + inset
        vertices.append(q)
        normals.append(np.tile(_unit(np.cross(q[3] - q[0], q[1] - q[0])), (4, 1)))
        uv.append([(u0, v0), (u1, v0), (u1, v1), (u0, v1)])
        faces.append(np.array([(0, 3, 2), (0, 2, 1)]) + 4 * i)
    return Mesh(
        np.concatenate(vertices), np.concatenate(normals), np.concatenate(uv), np.concatenate(faces).astype(np.int32)
    )


def sheet(width: float, depth: float, cells: int = 16, thickness: float = 0.02) -> Mesh:
    """A flat slab whose top (z = 0) is cut into cells x cells, so that lights per vertex fall off smoothly."""
    x, y = np.meshgrid(np.linspace(-width / 2, width / 2, cells + 1), np.linspace(depth / 2, -depth / 2, cells + 1))
    top = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    uv = np.stack([x / width + 0.5, 0.5 - y / depth], -1).reshape(-1, 2)
    faces = _grid_faces(cells + 1, cells + 1)[:, ::-1]
    grid = Mesh(top, np.tile([0.0, 0.0, 1.0], (len(top), 1)), uv, np.ascontiguousarray(faces))
    under = box((width, depth, thickness), atlas=False).moved((0, 0, -thickness / 2 - 1e-4))
    return merge([grid, under])
