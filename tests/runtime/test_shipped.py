# SPDX-License-Identifier: Apache-2.0
"""What every shipped bundle promises: a size, nouns that it knows, and the cups of a table that it has never seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import esam3_core
from esam3_core.runtime.bundle import SHIPPED
from esam3_core.scenes import SceneFrame, World, demo_config
from esam3_core.scenes.vocabulary import NOUNS

MOST_BYTES = 25_000_000
FRAMES = 3  # of the scene, a second apart
bundles = pytest.mark.parametrize("folder", sorted(SHIPPED.iterdir()), ids=lambda folder: folder.name)


@pytest.fixture(scope="module")
def table() -> list[SceneFrame]:
    world = World(3, demo_config(fps=1.0))
    frames = [world.step() for _ in range(FRAMES)]
    world.close()
    return frames


@bundles
def test_a_shipped_bundle_is_small_has_its_name_and_a_memory(folder: Path) -> None:
    student = esam3_core.load(folder.name)
    assert student.bundle.name == folder.name
    assert student.concepts == list(NOUNS)
    assert student.memory
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST_BYTES


@bundles
def test_a_shipped_bundle_finds_cups_and_nothing_that_is_not_there(folder: Path, table: list[SceneFrame]) -> None:
    """Far less than the card promises, which `esam3 eval` measures."""
    student = esam3_core.load(folder.name)
    covered, there, false = [], 0, 0
    for frame in table:
        found = student.segment(frame.image, ["cup", "banana"])
        cups = [frame.ids == one.id for one in frame.instances if "cup" in one.phrases]
        masks = [one.mask for one in found if one.concept == "cup"]
        there += len(cups)
        covered += [max((np.sum(cup & mask) / np.sum(cup | mask) for mask in masks), default=0.0) for cup in cups]
        false += sum(one.concept == "banana" for one in found)
    assert there >= 2 * FRAMES
    assert np.mean(np.array(covered) > 0.5) >= 0.6
    assert false == 0
