# SPDX-License-Identifier: Apache-2.0
"""Sheets of the best and the worst answers: numbers say how often, pictures say why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from esam3_core.data.sample import Sample
from esam3_core.metrics.concepts import IOUS
from esam3_core.metrics.evaluate import Samples, detect, pairs_of
from esam3_core.metrics.pairs import Pair
from esam3_core.metrics.questions import Question
from esam3_core.runtime.overlay import draw
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.student import Student
from esam3_core.runtime.text import normalise

TILE, COLUMNS, CAPTION = 300, 6, 34  # pixels, tiles per row, pixels
TRUTH = (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def quality(pair: Pair, threshold: float) -> float:
    """How well a pair is answered, 0..1: mean F1 over IOUS where there is an instance, else 1 - the best score."""
    if not pair.truths:
        return 1.0 - float(pair.scores.max(initial=0.0))
    hits = (pair.matched(threshold)[:, None] >= IOUS).sum(0)
    return float(np.mean(2 * hits / (pair.truths + pair.found(threshold))))


def best_and_worst(pairs: Sequence[Pair], threshold: float, count: int) -> tuple[list[Pair], list[Pair]]:
    """The best answers of pairs with an instance; the worst of those, then the worst of pairs without one.

    Each picture comes at most once on each list.
    """
    positive = sorted((p for p in pairs if p.truths), key=lambda pair: quality(pair, threshold))
    negative = sorted((p for p in pairs if not p.truths), key=lambda pair: quality(pair, threshold))
    alarms = [p for p in _one_each(negative) if p.found(threshold)][: count // 2]
    return _one_each(positive[::-1])[:count], _one_each(positive)[: count - len(alarms)] + alarms


def _one_each(pairs: Sequence[Pair]) -> list[Pair]:
    first: dict[str, Pair] = {}
    for pair in pairs:
        first.setdefault(pair.key, pair)
    return list(first.values())


def draw_sheets(
    student: Student,
    samples: Samples,
    indices: Sequence[int],
    ask: Callable[[Sample], list[Question]],
    pairs: Sequence[Pair],
    threshold: float,
    folder: Path,
    count: int = 24,
) -> list[Path]:
    """Write best.png and worst.png: what was found in colour, what is there outlined in white.

    Args:
        indices: the samples that were measured.
        pairs: what `evaluate` gave for them.
        count: tiles per sheet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups = dict(zip(("best", "worst"), best_and_worst(pairs, threshold, count), strict=True))
    wanted = {pair.key for group in groups.values() for pair in group}
    pictures = {sample.key: sample for sample in (samples[i] for i in indices) if sample.key in wanted}
    paths = []
    for name, group in groups.items():
        tiles = [draw_tile(student, pictures[pair.key], ask, pair, threshold) for pair in group]
        if tiles:
            paths.append(folder / f"{name}.png")
            cv2.imwrite(str(paths[-1]), cv2.cvtColor(stack(tiles), cv2.COLOR_RGB2BGR))
    return paths


def draw_tile(
    student: Student, sample: Sample, ask: Callable[[Sample], list[Question]], pair: Pair, threshold: float
) -> Image:
    """One answer: uint8 RGB [TILE + CAPTION, TILE, 3]."""
    question = next(q for q in ask(sample) if q.phrase == pair.phrase)
    found = [one for one in detect(student, sample, [pair.phrase]) if one.score >= threshold]
    counted = pairs_of(sample, [question], found)[0].found(threshold)
    picture = draw(sample.image, found)
    for hit in question.hits:
        contours, _ = cv2.findContours(sample.masks[hit], cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, TRUTH, max(1, round(min(picture.shape[:2]) / 240)))
    scale = TILE / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:TILE, :TILE]
    tile = np.full((TILE + CAPTION, TILE, 3), 30, np.uint8)
    tile[CAPTION : CAPTION + small.shape[0], : small.shape[1]] = small
    best = f" (best {pair.scores.max():.2f})" if pair.scores.size else ""
    text = f"{normalise(pair.phrase)}: {pair.truths} there, {counted} found{best}"
    cv2.putText(tile, text, (6, 22), FONT, 0.48, TRUTH, 1, cv2.LINE_AA)
    return tile


def stack(tiles: Sequence[Image]) -> Image:
    """Tiles of one size as a sheet of COLUMNS per row."""
    blank = np.zeros_like(tiles[0])
    filled = [*tiles, *[blank] * (-len(tiles) % COLUMNS)]
    rows = [np.hstack(filled[i : i + COLUMNS]) for i in range(0, len(filled), COLUMNS)]
    return np.asarray(np.vstack(rows), np.uint8)
