# SPDX-License-Identifier: Apache-2.0
"""What hangs behind the table: procedural pictures for walls and furniture. The network must not fire on any of it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.scenes import colours, textures
from esam3_core.scenes.textures import noise

Picture = NDArray[np.uint8]


def gradient(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Light falling over a plain wall."""
    base = colours.anything(rng, (0, 0.45), (0.2, 0.92))
    y, x = np.indices(size) / max(size)
    ramp = np.clip(0.5 + (x - 0.4) * rng.uniform(-1, 1) + (y - 0.4) * rng.uniform(-1, 1), 0, 1).astype(np.float32)
    return textures.blend(colours.shade(base, rng.uniform(0.55, 0.9)), base, ramp)


def shelves(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Boards with blurred clutter on them, too vague to name."""
    h, w = size
    picture = gradient(rng, size).copy()
    board = colours.to_bytes(
        colours.wood(rng) if rng.random() < 0.6 else colours.anything(rng, (0, 0.2), (0.6, 0.95))
    ).tolist()
    rows = int(rng.integers(2, 6))
    for y in np.linspace(h / rows, h, rows).astype(int):
        x = 0.0
        while x < w:
            wide, tall = rng.uniform(0.01, 0.08) * w, rng.uniform(0.2, 0.85) * h / rows
            if rng.random() < 0.75:
                tone = colours.to_bytes(colours.anything(rng, (0, 0.8), (0.1, 0.9))).tolist()
                cv2.ellipse(
                    picture, (int(x + wide / 2), int(y - tall / 2)), (int(wide / 2), int(tall / 2)), 0, 0, 360, tone, -1
                )
                cv2.rectangle(picture, (int(x), int(y - tall * rng.uniform(0.3, 1))), (int(x + wide), int(y)), tone, -1)
            x += wide * rng.uniform(0.9, 1.8)
        cv2.rectangle(picture, (0, int(y - 0.02 * h)), (w, int(y)), board, -1)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(2.5, 7) * w / 384)


def scraps(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Overlapping polygons, discs and textured patches, mostly out of focus."""
    h, w = size
    picture = textures.surface(rng, "train", size).copy()
    for _ in range(int(rng.integers(8, 50))):
        tone = colours.to_bytes(colours.anything(rng, (0, 0.75), (0.05, 0.95))).tolist()
        x, y = int(rng.integers(w)), int(rng.integers(h))
        reach = rng.uniform(0.03, 0.3) * w
        if rng.random() < 0.3:
            cv2.ellipse(
                picture,
                (x, y),
                (int(reach / 2), int(reach * rng.uniform(0.2, 0.8))),
                float(rng.uniform(0, 180)),
                0,
                360,
                tone,
                -1,
                cv2.LINE_AA,
            )
        else:
            n = int(rng.integers(3, 8))
            points = np.array([x, y]) + rng.uniform(-reach, reach, (n, 2)) * 0.6
            cv2.fillConvexPoly(picture, cv2.convexHull(points.astype(np.int32)), tone, cv2.LINE_AA)
    return cv2.GaussianBlur(picture, (0, 0), np.exp(rng.uniform(np.log(0.6), np.log(10))) * w / 384)


def room(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Windows, doors, pictures in frames on a wall."""
    h, w = size
    picture = gradient(rng, size).copy()
    for _ in range(int(rng.integers(1, 5))):
        x, y = int(rng.uniform(0, 0.8) * w), int(rng.uniform(0, 0.6) * h)
        wide, tall = int(rng.uniform(0.1, 0.4) * w), int(rng.uniform(0.15, 0.6) * h)
        frame = colours.to_bytes(colours.anything(rng, (0, 0.4), (0.1, 0.95))).tolist()
        inside = picture[y : y + tall, x : x + wide]
        if inside.size == 0:
            continue
        style = rng.random()
        if style < 0.4:
            inside[:] = np.linspace(250, rng.uniform(150, 240), inside.shape[0])[:, None, None].astype(np.uint8)
        elif style < 0.8:
            inside[:] = scraps(rng, (inside.shape[0], inside.shape[1]))
        else:
            inside[:] = colours.to_bytes(colours.anything(rng, (0, 0.5)))
        cv2.rectangle(picture, (x, y), (x + wide, y + tall), frame, int(rng.integers(2, 8)))
        if style < 0.4:
            cv2.line(picture, (x + wide // 2, y), (x + wide // 2, y + tall), frame, 3)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 4) * w / 384)


def foliage(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Leaves and light, as through a window."""
    h, w = size
    picture = textures.blend(
        np.array([0.05, 0.12, 0.04]), colours.anything(rng, (0.3, 0.6), (0.4, 0.8)), 0.5 + 0.4 * noise(rng, size, 9)
    ).copy()
    for _ in range(int(rng.integers(60, 220))):
        tone = colours.to_bytes(colours.named(rng, "green") * rng.uniform(0.4, 1.5)).tolist()
        size_px = rng.uniform(0.01, 0.05) * w
        cv2.ellipse(
            picture,
            (int(rng.integers(w)), int(rng.integers(h))),
            (int(size_px), int(size_px * 0.35)),
            float(rng.uniform(0, 180)),
            0,
            360,
            tone,
            -1,
            cv2.LINE_AA,
        )
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 6) * w / 384)


def cabinets(rng: np.random.Generator, size: tuple[int, int]) -> Picture:
    """Cupboard doors and drawers with knobs: flat rectangles that are neither boxes nor books."""
    h, w = size
    base = colours.wood(rng) if rng.random() < 0.5 else colours.anything(rng, (0, 0.4), (0.25, 0.95))
    picture = textures.blend(colours.shade(base, 0.9), base, 0.5 + 0.3 * noise(rng, size, 3, 3, stretch=8)).copy()
    dark, light = (colours.to_bytes(colours.shade(base, f)).tolist() for f in (0.55, 1.3))
    knob = colours.to_bytes(colours.anything(rng, (0, 0.3), (0.1, 0.9))).tolist()
    columns, rows = int(rng.integers(2, 7)), int(rng.integers(1, 6))
    wide, tall = w / columns, h / rows
    inset = rng.uniform(0.06, 0.16) if rng.random() < 0.6 else 0.0
    for i in range(rows):
        for j in range(columns):
            x, y = int(j * wide), int(i * tall)
            cv2.rectangle(picture, (x, y), (int(x + wide), int(y + tall)), dark, 2)
            if inset:
                a = (int(x + inset * wide), int(y + inset * wide))
                b = (int(x + wide * (1 - inset)), int(y + tall - inset * wide))
                cv2.rectangle(picture, a, b, dark, 1)
                cv2.rectangle(picture, (a[0] + 1, a[1] + 1), (b[0] + 1, b[1] + 1), light, 1)
            cv2.line(
                picture,
                (int(x + 0.4 * wide), int(y + 0.12 * tall)),
                (int(x + 0.6 * wide), int(y + 0.12 * tall)),
                knob,
                3,
            )
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 3) * w / 384)


_MAKERS = {"train": (gradient, shelves, scraps, room, foliage, cabinets), "held_out": (gradient, shelves, scraps, room)}


def backdrop(rng: np.random.Generator, split: str, size: tuple[int, int] = (288, 384)) -> Picture:
    """A wall picture of the split."""
    if rng.random() < 0.25:
        return textures.surface(rng, split, size)
    makers = _MAKERS[split]
    return makers[int(rng.integers(len(makers)))](rng, size)
