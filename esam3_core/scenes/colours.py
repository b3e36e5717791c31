# SPDX-License-Identifier: Apache-2.0
"""Colours as RGB triples in 0..1: by name, inside regions that leave no doubt, or at random for what has no phrase."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from esam3_core.scenes.vocabulary import COLOURS

Rgb = NDArray[np.float64]


def named(rng: np.random.Generator, name: str) -> Rgb:
    """A colour that everybody calls `name` (one of COLOURS), rgb [3] in 0..1."""
    hue, saturation, value = (rng.uniform(*r) for r in COLOURS[name])
    return np.array(colorsys.hsv_to_rgb(hue % 360 / 360, saturation, value))


def anything(
    rng: np.random.Generator, saturation: tuple[float, float] = (0.0, 0.7), value: tuple[float, float] = (0.15, 0.95)
) -> Rgb:
    """Any colour, for walls, cloths and distractors."""
    low, high = saturation
    muted = low + (high - low) * rng.random() ** 1.7  # strong colours are rare in rooms
    return np.array(colorsys.hsv_to_rgb(rng.random(), muted, rng.uniform(*value)))


def wood(rng: np.random.Generator) -> Rgb:
    """The colour of some timber."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(0.055, 0.1), rng.uniform(0.3, 0.65), rng.uniform(0.3, 0.85)))


def metal(rng: np.random.Generator) -> Rgb:
    """Steel, sometimes a warmer alloy."""
    warm = rng.random() < 0.15
    saturation = rng.uniform(0.3, 0.5) if warm else rng.uniform(0.0, 0.06)
    return np.array(colorsys.hsv_to_rgb(0.12 if warm else rng.uniform(0.5, 0.65), saturation, rng.uniform(0.6, 0.8)))


def skin(rng: np.random.Generator) -> Rgb:
    """The colour of a hand."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(0.035, 0.075), rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.92)))


def shade(rgb: Rgb, factor: float) -> Rgb:
    """A darker (factor < 1) or lighter tone of the same colour."""
    if factor <= 1:
        return rgb * factor
    return 1 - (1 - rgb) / factor


def to_bytes(rgb: Rgb) -> NDArray[np.uint8]:
    """0..1 floats of any shape -> uint8."""
    return np.clip(np.rint(np.asarray(rgb) * 255), 0, 255).astype(np.uint8)
