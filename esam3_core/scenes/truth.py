# SPDX-License-Identifier: Apache-2.0
"""Phrases: what is true of each object in a frame, and what looks right but is not."""

from __future__ import annotations

import numpy as np

from esam3_core.scenes.models import Thing
from esam3_core.scenes.vocabulary import (
    COLOURS,
    HELD_OUT_PAIRS,
    KINDS,
    NAMED_MATERIALS,
    NOUNS,
    PATTERNS,
    is_ambiguous,
    nouns_of,
)

_SIZE_RATIO = 1.4  # one is called small or large where the other is this much larger


def adjectives(thing: Thing) -> list[str]:
    """Colour, pattern and material words that a look at the object confirms."""
    finish = thing.finish
    words = [finish.colour] if finish.colour else []
    if finish.pattern != "plain":
        words.append(finish.pattern)
    if finish.material in NAMED_MATERIALS and thing.kind not in ("book", "glass", "wine glass", "can"):
        words.append(finish.material)
    return words


def phrases_of(thing: Thing) -> list[str]:
    """Every phrase true of one object by itself; its own noun comes first.

    Raises:
        ValueError: for a distractor, which has none.
    """
    if thing.kind is None:
        raise ValueError("a distractor has no phrases")
    out = []
    for noun in nouns_of(thing.kind):
        out.append(noun)
        out += [f"{word} {noun}" for word in adjectives(thing)]
    return out


def size_phrases(things: list[Thing], heights: list[int]) -> list[list[str]]:
    """Small or large + noun per object, where one of several differs beyond doubt in metres and in pixels."""
    out: list[list[str]] = [[] for _ in things]
    for noun in NOUNS:
        who = [i for i, t in enumerate(things) if t.kind is not None and noun in KINDS[t.kind]]
        if len(who) < 2:
            continue
        order = sorted(who, key=lambda i: things[i].size)
        small, next_small, large, next_large = order[0], order[1], order[-1], order[-2]
        if things[next_small].size > _SIZE_RATIO * things[small].size and all(
            heights[i] > heights[small] for i in order[1:]
        ):
            out[small].append(f"small {noun}")
        if things[large].size > _SIZE_RATIO * things[next_large].size and all(
            heights[i] < heights[large] for i in order[:-1]
        ):
            out[large].append(f"large {noun}")
    return out


def absent_phrases(rng: np.random.Generator, world: list[Thing], split: str, count: int = 12) -> list[str]:
    """Phrases that match nothing in the world: other adjectives of nouns that are there, then other nouns.

    All things of the world count, also those out of view, so that no phrase depends on a sliver at the edge.
    """
    named = [t for t in world if t.kind is not None]
    true = {p for t in named for p in phrases_of(t)}
    present = {n for t in named for n in nouns_of(t.kind or "")}
    hard = []
    for noun in sorted(present):
        doubtful = {t.finish.accent_colour for t in named if noun in nouns_of(t.kind or "")}
        vague = any(t.finish.colour is None for t in named if noun in nouns_of(t.kind or ""))
        if not vague:
            hard += [
                f"{c} {noun}"
                for c in COLOURS
                if f"{c} {noun}" not in true
                and c not in doubtful
                and not (split == "train" and (c, noun) in HELD_OUT_PAIRS)
            ]
        hard += [f"{p} {noun}" for p in PATTERNS[1:] if f"{p} {noun}" not in true and not _touches_print(named, noun)]
    easy = [n for n in NOUNS if n not in present and not any(is_ambiguous(n, p) for p in present)]
    rng.shuffle(hard)
    rng.shuffle(easy)
    return [str(p) for p in [*hard[: count * 2 // 3], *easy][:count]]


def _touches_print(named: list[Thing], noun: str) -> bool:
    """Whether things of this noun carry print or gores that one could take for a pattern."""
    return any(
        noun in nouns_of(t.kind or "") and (t.kind in ("box", "book", "can", "bottle") or t.family == "gores")
        for t in named
    )
