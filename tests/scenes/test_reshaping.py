# SPDX-License-Identifier: Apache-2.0
"""The free split: the things of the wide one, each of an outline of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esam3_core.scenes.catalogue import make
from esam3_core.scenes.meshes import FloatArray, lathe
from esam3_core.scenes.models import Thing
from esam3_core.scenes.reshaping import FREEDOM, Freedom, draw_warp

seeds = st.integers(0, 10_000)


def pair(seed: int, kind: str) -> tuple[Thing, Thing]:
    """The same thing as the wide and as the free split have it."""
    wide, free = (make(np.random.default_rng(seed), kind, split) for split in ("wide", "free"))
    return wide, free


def points(thing: Thing) -> FloatArray:
    """Every vertex [V, 3], metres."""
    return np.concatenate([p.mesh.vertices for p in thing.parts])


@pytest.mark.parametrize("kind", sorted(FREEDOM))
def test_a_free_thing_is_the_wide_one_in_another_shape(kind: str) -> None:
    wide, free = pair(3, kind)
    assert (free.family, free.finish.colour, free.finish.material) == (
        wide.family, wide.finish.colour, wide.finish.material,
    )  # fmt: skip
    assert points(free).shape == points(wide).shape
    assert np.abs(points(free) - points(wide)).max() > 0.001


@given(seeds, st.sampled_from(sorted(FREEDOM)))
def test_a_free_thing_stands_on_the_table_and_is_as_large_as_it_says(seed: int, kind: str) -> None:
    wide, free = pair(seed, kind)
    assert points(free)[:, 2].min() == pytest.approx(points(wide)[:, 2].min(), abs=0.003)
    reach = [float(np.linalg.norm(t.parts[0].mesh.vertices[:, :2], axis=1).max()) / t.radius for t in (wide, free)]
    assert reach[1] == pytest.approx(reach[0])
    assert np.isfinite(points(free)).all()
    for collider in free.colliders:
        assert all(side > 0 for side in collider.size)
        assert np.abs(collider.pos).max() <= 1.5 * max(2 * free.radius, free.height)


def test_a_ball_stays_round_and_a_can_straight() -> None:
    wide, free = pair(5, "ball")
    np.testing.assert_array_equal(points(free), points(wide))
    wide, free = pair(5, "can")
    np.testing.assert_allclose(points(free)[:, :2], points(wide)[:, :2], atol=1e-9)


@given(seeds, st.sampled_from([0, 2]))
def test_normals_stay_normal_to_the_surface(seed: int, axis: int) -> None:
    angle = np.linspace(-1.4, 1.4, 60)
    barrel = lathe(np.stack([0.04 * np.cos(angle), 0.05 + 0.05 * np.sin(angle)], 1), 80)
    low, high = float(barrel.vertices[:, axis].min()), float(barrel.vertices[:, axis].max())
    warp = draw_warp(np.random.default_rng(seed), Freedom(axis, width=0.1, length=0.1, shift=0.05), low, high)
    mesh = warp.mesh(barrel)
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    flat = np.cross(b - a, c - a)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-15)
    smooth = mesh.normals[mesh.faces].mean(1)
    smooth /= np.linalg.norm(smooth, axis=1, keepdims=True)
    assert np.quantile((flat * smooth).sum(1), 0.02) > 0.98


def test_the_same_seed_makes_the_same_thing() -> None:
    one, other = (make(np.random.default_rng(8), "vase", "free") for _ in range(2))
    np.testing.assert_array_equal(points(one), points(other))
    assert len({round(make(np.random.default_rng(s), "vase", "free").height, 6) for s in range(20)}) == 20
