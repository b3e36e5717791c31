# SPDX-License-Identifier: Apache-2.0
"""Things that are not round seen from above, and what closes a bottle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from esam3_core.scenes.catalogue import make
from esam3_core.scenes.closures import CLOSURES, closure
from esam3_core.scenes.sections import SHARES, pressed

seeds = st.integers(0, 10_000)
EVEN = 2.0  # the power of a circle


@given(seeds, st.sampled_from(sorted(SHARES)))
def test_a_round_section_changes_no_thing(seed: int, kind: str) -> None:
    thing = make(np.random.default_rng(seed), kind, "train")
    same = pressed(thing, EVEN, 1.0)
    for part, before in zip(same.parts, thing.parts, strict=True):
        np.testing.assert_allclose(part.mesh.vertices, before.mesh.vertices, atol=1e-9)
    assert same.colliders == thing.colliders
    assert same.radius == pytest.approx(thing.radius)


@given(seeds, st.sampled_from(sorted(SHARES)), st.sampled_from([3.0, 4.0, 7.0]))
def test_four_sides_stay_where_the_circle_was_and_corners_reach_out(seed: int, kind: str, power: float) -> None:
    thing = make(np.random.default_rng(seed), kind, "train")
    square = pressed(thing, power, 1.0)
    assert thing.radius < square.radius <= thing.radius * 2**0.5
    for part, before in zip(square.parts, thing.parts, strict=True):
        moved, old = np.hypot(*part.mesh.vertices[:, :2].T), np.hypot(*before.mesh.vertices[:, :2].T)
        assert (moved >= old - 1e-9).all() and (moved <= old * 2**0.5 + 1e-9).all()
        np.testing.assert_array_equal(part.mesh.vertices[:, 2], before.mesh.vertices[:, 2])
        np.testing.assert_allclose(np.linalg.norm(part.mesh.normals, axis=1), 1.0, atol=1e-6)


def test_an_oval_is_narrower_across_and_lies_on_its_side() -> None:
    thing = make(np.random.default_rng(1), "bottle", "train")
    oval = pressed(thing, EVEN, 0.6)
    body, round_body = oval.parts[0].mesh.vertices, thing.parts[0].mesh.vertices
    assert np.ptp(body[:, 1]) == pytest.approx(0.6 * np.ptp(round_body[:, 1]))
    assert np.ptp(body[:, 0]) == pytest.approx(np.ptp(round_body[:, 0]))
    assert {c.shape for c in oval.colliders} == {"box"} and not oval.rolls


@given(seeds, st.sampled_from(sorted(CLOSURES)))
def test_a_closure_sits_on_its_neck(seed: int, family: str) -> None:
    neck, height = 0.014, 0.22
    mesh, tall = closure(np.random.default_rng(seed), neck, height, family)
    z = mesh.vertices[:, 2]
    assert height - tall <= z.min() <= height < z.max() <= height + tall + 1e-9
    assert np.isfinite(mesh.normals).all()
