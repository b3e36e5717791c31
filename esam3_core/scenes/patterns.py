# SPDX-License-Identifier: Apache-2.0
"""Pictures on objects: patterns, labels, covers, fruit skin. uint8 [H, W, 3]; they wrap round in x."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.scenes import colours
from esam3_core.scenes.textures import noise

Picture = NDArray[np.uint8]


def _fill(rgb: colours.Rgb, size: tuple[int, int]) -> Picture:
    return np.ascontiguousarray(np.broadcast_to(colours.to_bytes(rgb), (*size, 3)))


def decorate(
    rng: np.random.Generator, pattern: str, base: colours.Rgb, accent: colours.Rgb, size: tuple[int, int] = (128, 256)
) -> Picture:
    """A picture whose main colour is `base` (two thirds or more of the area) with a pattern in `accent`.

    Raises:
        ValueError: for a pattern that is not in `vocabulary.PATTERNS`.
    """
    picture = _fill(base, size)
    ink = tuple(int(c) for c in colours.to_bytes(accent))
    h, w = size
    if pattern == "plain":
        return picture
    if pattern == "striped":
        _stripes(rng, picture, ink)
    elif pattern == "dotted":
        n = int(rng.integers(5, 10))
        step = w / n
        radius = step * rng.uniform(0.2, 0.29)
        for row in range(int(h / step) + 2):
            for column in range(n + 1):
                centre = ((column + 0.5 * (row % 2)) * step, (row + 0.3) * step)
                _dot(picture, centre, radius, ink)
    elif pattern == "checked":
        n = int(rng.integers(4, 9)) * 2
        rows, columns = np.indices(size) * n // w
        mask = (rows % 2 == 0) & (columns % 2 == 0) if rng.random() < 0.4 else (rows + columns) % 2 == 0
        if mask.mean() > 0.4:  # chequers of equal shares: keep the base ahead by a tint of it
            picture[mask] = colours.to_bytes(0.75 * accent + 0.25 * base)
        else:
            picture[mask] = ink
    elif pattern == "zigzag":
        n = int(rng.integers(5, 12))
        tooth = w / n
        for level in np.linspace(0.1, 0.9, int(rng.integers(1, 5))) * h:
            x = np.arange(2 * n + 1) * tooth / 2
            y = level + tooth * 0.35 * np.where(np.arange(2 * n + 1) % 2, 1, -1)
            cv2.polylines(picture, [np.stack([x, y], 1).astype(np.int32)], False, ink, max(int(h * 0.04), 2))
    elif pattern == "flowery":
        leaf = tuple(int(c) for c in colours.to_bytes(colours.shade(accent, 0.55)))
        for _ in range(int(rng.integers(8, 18))):
            _flower(picture, rng.uniform(0, 1, 2) * (w, h), h * rng.uniform(0.05, 0.1), ink, leaf)
    else:
        raise ValueError(f"unknown pattern {pattern!r}: choose one of vocabulary.PATTERNS")
    return picture


def _stripes(rng: np.random.Generator, picture: Picture, ink: tuple[int, ...]) -> None:
    h, w = picture.shape[:2]
    share = rng.uniform(0.22, 0.36)
    style = rng.random()
    n = int(rng.integers(3, 9))
    if style < 0.5:
        mask = np.broadcast_to(((np.arange(h) * n / h) % 1 < share)[:, None], (h, w))
    elif style < 0.8:
        mask = np.broadcast_to(((np.arange(w) * 2 * n / w) % 1 < share)[None], (h, w))
    else:
        mask = ((np.arange(w)[None] * n / w + np.arange(h)[:, None] * n / h) % 1) < share
    picture[mask] = ink


def _dot(picture: Picture, centre: tuple[float, float], radius: float, ink: tuple[int, ...]) -> None:
    w = picture.shape[1]
    for shift in (-w, 0, w):
        cv2.circle(picture, (int(centre[0] + shift), int(centre[1])), int(radius), ink, -1, cv2.LINE_AA)


def _flower(
    picture: Picture, centre: NDArray[np.float64], radius: float, ink: tuple[int, ...], leaf: tuple[int, ...]
) -> None:
    for k in range(5):
        angle = 2 * np.pi * k / 5
        _dot(picture, (centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)), radius * 0.62, ink)
    _dot(picture, (centre[0], centre[1]), radius * 0.5, leaf)


def band_label(
    rng: np.random.Generator,
    picture: Picture,
    top: float,
    bottom: float,
    paper: colours.Rgb,
    ink: colours.Rgb,
    wrap: float = 1.0,
) -> None:
    """Paint an abstract label (no words, no marks of anybody) on rows top..bottom (0..1) of a wrapping picture."""
    h, w = picture.shape[:2]
    y0, y1, width = int(top * h), int(bottom * h), int(wrap * w)
    patch = _fill(paper, (max(y1 - y0, 8), width))
    abstract(rng, patch, ink)
    picture[y0 : y0 + len(patch), :width] = patch[: h - y0]


def abstract(rng: np.random.Generator, patch: Picture, ink: colours.Rgb) -> None:
    """Draw bars, discs, wedges and lines of pretended text on a picture, in place."""
    h, w = patch.shape[:2]
    tones = [
        colours.to_bytes(c).tolist()
        for c in (ink, colours.shade(ink, 0.5), colours.shade(ink, 1.9), colours.anything(rng))
    ]
    for _ in range(int(rng.integers(2, 6))):
        tone = tones[rng.integers(len(tones))]
        x, y = int(rng.integers(w)), int(rng.integers(h))
        shape = rng.integers(4)
        if shape == 0:
            cv2.circle(patch, (x, y), int(h * rng.uniform(0.1, 0.35)), tone, -1, cv2.LINE_AA)
        elif shape == 1:
            cv2.rectangle(
                patch, (x, y), (x + int(w * rng.uniform(0.05, 0.4)), y + int(h * rng.uniform(0.05, 0.3))), tone, -1
            )
        elif shape == 2:
            points = np.stack([rng.uniform(0, w, 3), rng.uniform(0, h, 3)], 1)
            cv2.fillPoly(patch, [points.astype(np.int32)], tone, cv2.LINE_AA)
        else:
            cv2.ellipse(
                patch, (x, y), (int(w * 0.2), int(h * 0.15)), float(rng.uniform(0, 180)), 0, 360, tone, 2, cv2.LINE_AA
            )
    text(rng, patch, tones[int(rng.integers(2))])


def text(rng: np.random.Generator, patch: Picture, tone: list[int], lines: int | None = None) -> None:
    """Rows of short strokes that look like print from afar."""
    h, w = patch.shape[:2]
    y = rng.uniform(0.1, 0.5) * h
    left, right = sorted(rng.uniform(0.05, 0.95, 2) * w)
    size = h * rng.uniform(0.03, 0.12)
    for _ in range(lines if lines is not None else int(rng.integers(1, 6))):
        x = left
        while x < right and right - left > w * 0.15:
            length = size * rng.uniform(0.4, 1.2)
            if rng.random() < 0.85:
                cv2.rectangle(patch, (int(x), int(y)), (int(x + length * 0.7), int(y + size)), tone, -1)
            x += length
        y += size * 1.8
        size = h * 0.035
        if y > h * 0.95:
            break


def carton(rng: np.random.Generator, base: colours.Rgb, accent: colours.Rgb, printed: bool) -> Picture:
    """Atlas (see `meshes.box`) of a box: printed sides, or bare board with tape."""
    cell = 96
    picture = _fill(base, (2 * cell, 3 * cell))
    for i in range(6):
        view = picture[i // 3 * cell : (i // 3 + 1) * cell, i % 3 * cell : (i % 3 + 1) * cell]
        if printed and i < 5:
            abstract(rng, view, accent)
            if (view != colours.to_bytes(base)).any(-1).mean() > 0.45:  # the named colour must lead
                view[:] = colours.to_bytes(base)
                text(rng, view, colours.to_bytes(accent).tolist())
        elif not printed and i in (2, 5):
            cv2.rectangle(
                view,
                (0, int(cell * 0.42)),
                (cell, int(cell * 0.58)),
                colours.to_bytes(colours.shade(base, 1.25)).tolist(),
                -1,
            )
            cv2.line(view, (0, cell // 2), (cell, cell // 2), colours.to_bytes(colours.shade(base, 0.7)).tolist(), 1)
        cv2.rectangle(view, (0, 0), (cell - 1, cell - 1), colours.to_bytes(colours.shade(base, 0.82)).tolist(), 1)
    return np.clip(picture + 4 * noise(rng, picture.shape[:2], 60, 2)[..., None], 0, 255).astype(np.uint8)


def cover(rng: np.random.Generator, base: colours.Rgb, accent: colours.Rgb) -> Picture:
    """A book's cover [128, 96]: frame, title, picture."""
    picture = _fill(base, (144, 104))
    h, w = picture.shape[:2]
    ink = colours.to_bytes(accent).tolist()
    style = rng.integers(4)
    if style == 0:
        cv2.rectangle(picture, (6, 6), (w - 7, h - 7), ink, 2)
    elif style == 1:
        cv2.rectangle(picture, (0, int(h * 0.68)), (w, int(h * 0.9)), ink, -1)
    elif style == 2:
        cv2.circle(picture, (w // 2, int(h * 0.62)), int(w * 0.26), ink, -1, cv2.LINE_AA)
    for k, y in enumerate((0.16, 0.28)[: 1 + int(rng.integers(2))]):
        half = w * rng.uniform(0.2, 0.4)
        x = w / 2 - half
        while x < w / 2 + half:
            length = rng.uniform(3, 8)
            cv2.rectangle(picture, (int(x), int(y * h)), (int(x + length), int(y * h + 11 - 4 * k)), ink, -1)
            x += length + 2.5
    cv2.line(picture, (3, 0), (3, h), colours.to_bytes(colours.shade(base, 0.7)).tolist(), 2)
    return picture


def skin(rng: np.random.Generator, kind: str, base: colours.Rgb) -> Picture:
    """Fruit skin: [128, 256], top row at the stalk."""
    size = (128, 256)
    y = np.linspace(0, 1, size[0], dtype=np.float32)[:, None]
    field = noise(rng, size, 6)
    field[:, 192:] = field[:, 192:] * np.linspace(1, 0, 64) + field[:, :1] * np.linspace(0, 1, 64)
    picture = base * (1 + 0.06 * field)[..., None]
    if kind == "apple":
        other = colours.named(rng, "yellow") * 0.9
        streak = np.clip(0.35 * noise(rng, size, 40, 2, stretch=0.1) + 0.1 - 1.2 * np.abs(y - 0.05), 0, 0.35)[..., None]
        picture = picture * (1 - streak) + other * streak
    elif kind == "orange":
        picture = picture * (1 - 0.05 * (noise(rng, size, 90, 1) > 0.7))[..., None]
    elif kind == "banana":
        tip = np.clip(1 - np.minimum(y, 1 - y) / 0.07, 0, 1)[..., None]
        spots = (noise(rng, size, 30, 2) > rng.uniform(1.7, 3.0))[..., None]
        picture = picture * (1 - 0.75 * tip)
        picture = np.where(spots, picture * 0.5, picture)
    return colours.to_bytes(picture)
