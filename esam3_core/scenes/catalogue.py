# SPDX-License-Identifier: Apache-2.0
"""Which maker builds which kind, and how often each kind is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from esam3_core.scenes import containers, cutlery, foods, glassware, vessels
from esam3_core.scenes.models import Thing
from esam3_core.scenes.sections import maybe_pressed

MAKERS: dict[str, Callable[[np.random.Generator, str], Thing]] = {
    "cup": vessels.cup,
    "mug": vessels.mug,
    "bowl": vessels.bowl,
    "bottle": containers.bottle,
    "can": containers.can,
    "plate": vessels.plate,
    "vase": vessels.vase,
    "glass": glassware.glass,
    "wine glass": glassware.wine_glass,
    "box": containers.carton_box,
    "book": containers.book,
    "ball": foods.ball,
    "apple": foods.apple,
    "banana": foods.banana,
    "orange": foods.orange,
    "fork": cutlery.fork,
    "knife": cutlery.knife,
    "spoon": cutlery.spoon,
}
"""Kind -> maker(rng, split)."""

WEIGHTS: dict[str, float] = {
    "cup": 2.0,
    "mug": 2.0,
    "bowl": 1.3,
    "bottle": 1.3,
    "fork": 1.2,
    "knife": 1.2,
    "spoon": 1.3,
    "book": 1.1,
}
"""Kinds drawn more often than once; the others weigh 1."""


def draw_kind(rng: np.random.Generator) -> str:
    """A kind by weight."""
    kinds = list(MAKERS)
    weights = np.array([WEIGHTS.get(k, 1.0) for k in kinds])
    return kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]


def make(rng: np.random.Generator, kind: str, split: str) -> Thing:
    """Build one object.

    Raises:
        ValueError: for a kind that no maker builds.
    """
    if kind not in MAKERS:
        raise ValueError(f"no such kind {kind!r}: choose from {', '.join(MAKERS)}")
    thing = MAKERS[kind](rng, split)
    return maybe_pressed(rng, thing) if split == "wide" else thing
