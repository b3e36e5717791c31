# SPDX-License-Identifier: Apache-2.0
"""Pictures of surfaces: tables, walls, floors. All are uint8 [H, W, 3], drawn from a random generator."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.scenes import colours

Picture = NDArray[np.uint8]
Field = NDArray[np.float32]


def noise(
    rng: np.random.Generator, size: tuple[int, int], cells: float, octaves: int = 4, stretch: float = 1.0
) -> Field:
    """Smooth fractal noise [H, W] about 0, standard deviation near 1; cells = blobs across the width."""
    h, w = size
    total, gain = np.zeros(size, np.float32), 1.0
    for _ in range(octaves):
        columns = max(round(cells), 2)
        rows = max(round(cells * h / w * stretch), 2)
        grid = rng.standard_normal((rows, columns), np.float32)
        total += gain * cv2.resize(grid, (w, h), interpolation=cv2.INTER_CUBIC)
        cells, gain = cells * 2.1, gain * 0.55
        if cells > w:
            break
    return total


def blend(low: colours.Rgb, high: colours.Rgb, amount: Field) -> Picture:
    """Mix two colours by a field [H, W] in 0..1."""
    a = np.clip(amount, 0, 1)[..., None]
    return colours.to_bytes(low * (1 - a) + high * a)


def plain(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """One colour with faint stains."""
    base = colours.anything(rng, (0.0, 0.45), (0.25, 0.92))
    return blend(base, colours.shade(base, rng.uniform(0.8, 1.15)), 0.5 + 0.25 * noise(rng, size, 3))


def planks(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Wood: grain, sometimes boards."""
    h, _ = size
    base = colours.wood(rng)
    warp = noise(rng, size, 2, 2) * rng.uniform(0.02, 0.1)
    y = np.linspace(0, 1, h, dtype=np.float32)[:, None] + warp
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(5, 18) * y)
    grain = noise(rng, size, rng.uniform(2, 5), 3, stretch=rng.uniform(12, 30))
    picture = blend(
        colours.shade(base, rng.uniform(0.65, 0.85)), base, 0.5 + 0.3 * (rings - 0.5) + 0.22 * grain
    ).astype(np.float32)
    if rng.random() < 0.6:
        boards = int(rng.integers(3, 9))
        for edge in np.linspace(0, h, boards + 1)[:-1].astype(int):
            picture[edge : edge + h // boards] *= rng.uniform(0.82, 1.08)
            picture[edge : edge + max(h // 170, 1)] *= 0.45
    return np.clip(picture, 0, 255).astype(np.uint8)


def cloth(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """A weave, in one colour or with woven bands."""
    h, w = size
    base = colours.anything(rng, (0.05, 0.65), (0.3, 0.92))
    picture = np.tile(base, (h, w, 1)).astype(np.float32)
    if rng.random() < 0.5:
        other = colours.anything(rng, (0.0, 0.6), (0.3, 0.95))
        period = int(rng.integers(max(w // 24, 4), max(w // 5, 8)))
        band = (np.arange(w) % period < period * rng.uniform(0.1, 0.5)).astype(np.float32) * rng.uniform(0.4, 0.9)
        along = (
            np.tile(band[None], (h, 1))
            if rng.random() < 0.5
            else np.maximum(band[None], 0.8 * np.resize(band, h)[:, None])
        )
        picture = picture * (1 - along[..., None]) + other * along[..., None]
    thread = 0.06 * (np.indices((h, w)).sum(0) % 4 < 2) + 0.03 * rng.standard_normal((h, w), np.float32)
    folds = 0.05 * noise(rng, size, 4, 2)
    return colours.to_bytes(picture * (0.95 + thread + folds)[..., None])


def checks(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """A chequered cloth or floor."""
    h, w = size
    n = int(rng.integers(4, 22))
    first = colours.anything(rng, (0.0, 0.7), (0.3, 0.95))
    second = colours.shade(first, 1.8) if rng.random() < 0.5 else colours.anything(rng, (0.0, 0.5), (0.3, 0.95))
    row, column = np.indices((h, w)) * n // w
    soft = 0.5 * ((row % 2) + (column % 2)) if rng.random() < 0.6 else ((row + column) % 2)
    return blend(first, second, soft.astype(np.float32) + 0.06 * noise(rng, size, 40, 2))


def stone(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Speckled stone, terrazzo, concrete."""
    base = colours.anything(rng, (0.0, 0.2), (0.25, 0.88))
    speck = noise(rng, size, rng.uniform(20, 120), 3)
    return blend(colours.shade(base, 0.6), colours.shade(base, 1.3), 0.5 + rng.uniform(0.08, 0.3) * speck)


def blotches(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Strong noise in three colours: rugs, worn paint, grass."""
    picture = blend(
        colours.anything(rng, (0, 0.6)),
        colours.anything(rng, (0, 0.6)),
        0.5 + 0.5 * noise(rng, size, rng.uniform(3, 30)),
    )
    spots = noise(rng, size, rng.uniform(6, 30)) > 1.2
    picture[spots] = colours.to_bytes(colours.anything(rng, (0, 0.6)))
    return picture


def bricks(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Bricks or tiles with joints."""
    h, w = size
    rows = int(rng.integers(4, 12))
    bh, bw = h / rows, w / rows * rng.uniform(1, 2)
    y, x = np.indices((h, w))
    row = (y / bh).astype(int)
    shift = x + (row % 2) * bw / 2 * (rng.random() < 0.6)
    joint = (y % bh < bh * 0.08) | (shift % bw < bw * 0.05)
    tone = rng.uniform(0.75, 1.15, (rows + 2, int(w / bw) + 3))[row, (shift / bw).astype(int)]
    base = colours.anything(rng, (0.05, 0.6), (0.3, 0.9))
    picture = base * (tone + 0.05 * noise(rng, size, 60, 2))[..., None]
    picture[joint] = colours.anything(rng, (0, 0.15), (0.3, 0.9))
    return colours.to_bytes(picture)


def marble(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Marble veins (held out)."""
    base = colours.anything(rng, (0.0, 0.2), (0.55, 0.92))
    vein = np.abs(noise(rng, size, rng.uniform(2, 5), 5))
    return blend(colours.shade(base, rng.uniform(0.3, 0.6)), base, np.sqrt(np.clip(vein * 1.6, 0, 1)))


def herringbone(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Herringbone parquet (held out)."""
    h, w = size
    y, x = np.indices((h, w)) / (w / rng.uniform(6, 14))
    band = np.floor(x)
    slope = np.where(band % 2 == 0, 1.0, -1.0)
    board = np.floor((y + slope * (x - band)) * 2)
    tone = rng.uniform(0.75, 1.1, (64, 64))[board.astype(int) % 64, band.astype(int) % 64]
    gap = ((y + slope * (x - band)) * 2 % 1 < 0.06) | ((x - band) < 0.02)
    picture = colours.wood(rng) * (tone + 0.05 * noise(rng, size, 40, 2))[..., None]
    picture[gap] *= 0.5
    return colours.to_bytes(picture)


def hexagons(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Hexagonal tiles (held out)."""
    h, w = size
    y, x = np.indices((h, w)) / (w / rng.uniform(6, 16))
    s = np.sqrt(3)
    a = np.stack([x % 1 - 0.5, y % s - s / 2])
    b = np.stack([(x - 0.5) % 1 - 0.5, (y - s / 2) % s - s / 2])
    near = np.where((a**2).sum(0) < (b**2).sum(0), a, b)
    edge = 0.5 - np.maximum(np.abs(near[0]), np.abs(near[0]) * 0.5 + np.abs(near[1]) * s / 2)
    base = colours.anything(rng, (0.0, 0.5), (0.35, 0.9))
    return blend(
        colours.shade(base, 0.5), base, np.clip(edge * 22, 0, 1).astype(np.float32) + 0.05 * noise(rng, size, 8)
    )


Maker = Callable[[np.random.Generator, tuple[int, int]], Picture]
SURFACES: dict[str, dict[str, Maker]] = {
    "train": {
        "planks": planks,
        "cloth": cloth,
        "plain": plain,
        "checks": checks,
        "stone": stone,
        "blotches": blotches,
        "bricks": bricks,
    },
    "held_out": {"marble": marble, "herringbone": herringbone, "hexagons": hexagons},
}
"""Split -> name -> maker of surface pictures; the splits share none."""


def surface(
    rng: np.random.Generator, split: str, size: tuple[int, int] = (384, 384), kinds: tuple[str, ...] = ()
) -> Picture:
    """A surface picture of the split; `kinds` narrows the choice where the split has any of them."""
    makers = SURFACES[split]
    names = [k for k in kinds if k in makers] or list(makers)
    return makers[names[rng.integers(len(names))]](rng, size)
