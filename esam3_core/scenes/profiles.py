# SPDX-License-Identifier: Apache-2.0
"""Outlines of turned vessels, as families of control points. The splits share no family.

A family (outlines.Family): control points (r, z) from foot to rim in units of (rim or belly radius, height), the range
of that radius in metres, and the range of height / (2 * radius). The wide split has those of the train split and many
more (profiles_wide.py), and half of its vessels lie between two of them: what is learnt from few shapes does not carry
over to others (docs/bundles/tabletop_fine.md, "Few shapes").
"""

from __future__ import annotations

import numpy as np

from esam3_core.scenes.models import pick
from esam3_core.scenes.outlines import CUP_R, GLASS_R, MUG_R, Family, between
from esam3_core.scenes.profiles_wide import WIDE

_SPLITS: dict[str, dict[str, dict[str, Family]]] = {
    "cup": {
        "train": {
            "tapered": Family(((0.68, 0), (0.79, 0.35), (0.9, 0.7), (1, 1)), CUP_R, (1.0, 1.4)),
            "straight": Family(((0.95, 0), (0.97, 0.3), (0.98, 0.7), (1, 1)), CUP_R, (0.9, 1.3), 0.02),
            "rounded": Family(((0.55, 0), (0.85, 0.2), (0.97, 0.55), (1, 1)), CUP_R, (0.8, 1.1)),
            "barrel": Family(((0.75, 0), (0.98, 0.3), (1.02, 0.6), (0.92, 1)), CUP_R, (0.95, 1.25)),
        },
        "held_out": {
            "flared": Family(((0.62, 0), (0.66, 0.4), (0.76, 0.75), (1, 1)), CUP_R, (1.0, 1.3), 0.02),
            "facetted": Family(((0.72, 0), (0.82, 0.35), (0.9, 0.7), (1, 1)), CUP_R, (1.0, 1.3), 0.02, True),
        },
    },
    "mug": {
        "train": {
            "cylinder": Family(((0.97, 0), (1, 0.3), (1, 0.7), (1, 1)), MUG_R, (0.95, 1.3), 0.015),
            "tapered": Family(((0.74, 0), (0.84, 0.35), (0.92, 0.7), (1, 1)), MUG_R, (0.95, 1.25)),
            "tulip": Family(((0.65, 0), (0.92, 0.25), (0.97, 0.6), (1, 1)), MUG_R, (0.9, 1.2)),
        },
        "held_out": {
            "belly": Family(((0.72, 0), (1.02, 0.35), (0.98, 0.65), (0.86, 1)), MUG_R, (0.95, 1.2), 0.02),
            "cone": Family(((1.05, 0), (1, 0.35), (0.92, 0.7), (0.85, 1)), MUG_R, (1.0, 1.3), 0.02),
        },
    },
    "bowl": {
        "train": {
            "round": Family(((0.42, 0), (0.72, 0.25), (0.9, 0.6), (1, 1)), (0.06, 0.1), (0.34, 0.5)),
            "wide": Family(((0.45, 0), (0.65, 0.2), (0.84, 0.55), (1, 1)), (0.07, 0.115), (0.26, 0.36)),
            "deep": Family(((0.5, 0), (0.88, 0.3), (0.98, 0.65), (1, 1)), (0.055, 0.09), (0.42, 0.55)),
        },
        "held_out": {
            "conical": Family(((0.35, 0), (0.56, 0.33), (0.78, 0.67), (1, 1)), (0.06, 0.1), (0.32, 0.45), 0.01),
            "closed": Family(((0.5, 0), (0.95, 0.35), (1.03, 0.65), (0.93, 1)), (0.06, 0.09), (0.4, 0.52), 0.02),
        },
    },
    "plate": {
        "train": {
            "rimmed": Family(((0.6, 0), (0.68, 0.5), (0.84, 0.8), (1, 1)), (0.075, 0.13), (0.06, 0.1), 0.02),
            "coupe": Family(((0.55, 0), (0.75, 0.2), (0.9, 0.5), (1, 1)), (0.075, 0.13), (0.07, 0.11), 0.02),
        },
        "held_out": {
            "stepped": Family(((0.72, 0), (0.74, 0.85), (0.87, 0.9), (1, 1)), (0.08, 0.125), (0.06, 0.09), 0.01),
        },
    },
    "vase": {
        "train": {
            "amphora": Family(
                ((0.5, 0), (0.82, 0.2), (1, 0.45), (0.72, 0.72), (0.38, 0.87), (0.5, 1)),
                (0.045, 0.08),
                (1.3, 1.8),
                0.06,
            ),
            "bud": Family(
                ((0.75, 0), (1, 0.2), (0.85, 0.45), (0.38, 0.68), (0.3, 0.85), (0.4, 1)),
                (0.04, 0.065),
                (1.5, 2.1),
                0.06,
            ),
            "trumpet": Family(
                ((0.6, 0), (0.52, 0.2), (0.5, 0.45), (0.62, 0.7), (0.8, 0.88), (1, 1)), (0.045, 0.075), (1.5, 2.0), 0.05
            ),
        },
        "held_out": {
            "gourd": Family(
                ((0.7, 0), (1, 0.2), (0.62, 0.5), (0.68, 0.65), (0.45, 0.85), (0.5, 1)), (0.045, 0.07), (1.4, 1.8), 0.03
            ),
            "shouldered": Family(
                ((0.52, 0), (0.65, 0.3), (0.85, 0.6), (1, 0.8), (0.62, 0.93), (0.58, 1)),
                (0.05, 0.075),
                (1.3, 1.7),
                0.03,
            ),
        },
    },
    "glass": {
        "train": {
            "highball": Family(((0.9, 0), (0.93, 0.3), (0.97, 0.7), (1, 1)), GLASS_R, (1.5, 2.2), 0.02),
            "lowball": Family(((0.88, 0), (0.94, 0.3), (0.97, 0.7), (1, 1)), (0.035, 0.043), (0.95, 1.2), 0.02),
            "conical": Family(((0.68, 0), (0.8, 0.35), (0.9, 0.7), (1, 1)), GLASS_R, (1.4, 2.0), 0.03),
        },
        "held_out": {
            "pilsner": Family(((0.6, 0), (0.66, 0.3), (0.84, 0.7), (1, 1)), GLASS_R, (1.8, 2.3), 0.02),
            "facetted": Family(((0.75, 0), (0.84, 0.35), (0.92, 0.7), (1, 1)), GLASS_R, (1.3, 1.7), 0.02, True),
        },
    },
    "bottle": {
        "train": {
            "wine": Family(
                ((0.98, 0), (1, 0.2), (1, 0.55), (0.72, 0.68), (0.4, 0.78), (0.37, 1)), (0.033, 0.04), (3.4, 4.0), 0.03
            ),
            "water": Family(
                ((0.95, 0), (1, 0.15), (1, 0.62), (0.85, 0.76), (0.5, 0.88), (0.42, 1)), (0.03, 0.04), (2.8, 3.4), 0.04
            ),
            "squat": Family(
                ((0.95, 0), (1, 0.15), (1, 0.5), (0.9, 0.66), (0.45, 0.78), (0.4, 1)), (0.036, 0.046), (1.9, 2.4), 0.04
            ),
        },
        "held_out": {
            "waisted": Family(
                ((0.92, 0), (1, 0.15), (0.84, 0.42), (0.98, 0.62), (0.5, 0.85), (0.4, 1)),
                (0.032, 0.04),
                (2.8, 3.3),
                0.02,
            ),
            "burgundy": Family(
                ((0.98, 0), (1, 0.2), (0.98, 0.4), (0.7, 0.62), (0.42, 0.8), (0.36, 1)),
                (0.037, 0.043),
                (3.0, 3.5),
                0.02,
            ),
        },
    },
    "can": {
        "train": {
            "drink": Family(((0.8, 0), (1, 0.05), (1, 0.9), (0.82, 1)), (0.03, 0.034), (1.7, 2.0), 0.01),
            "tin": Family(((1, 0), (1, 0.33), (1, 0.67), (1, 1)), (0.034, 0.044), (1.2, 1.6), 0.0),
        },
        "held_out": {
            "slim": Family(((0.78, 0), (1, 0.045), (1, 0.9), (0.8, 1)), (0.025, 0.028), (2.3, 2.7), 0.0),
            "flat": Family(((1, 0), (1, 0.33), (1, 0.67), (1, 1)), (0.042, 0.05), (0.6, 0.8), 0.0),
        },
    },
}

FAMILIES = {kind: {**splits, "wide": WIDE[kind]} for kind, splits in _SPLITS.items()}
"""Kind -> split -> family name -> family."""


BETWEEN = 0.5  # share of the wide split's vessels whose family lies between two


def family_of(rng: np.random.Generator, kind: str, split: str) -> tuple[str, Family]:
    """A family of a kind that the split may show, and its name: of the first where it lies between two."""
    families = FAMILIES[kind]["train"] | FAMILIES[kind]["wide"] if split == "wide" else FAMILIES[kind][split]
    name = pick(rng, list(families))
    if split != "wide" or rng.random() >= BETWEEN:
        return name, families[name]
    return name, between(families[name], families[pick(rng, list(families))], rng.random())
