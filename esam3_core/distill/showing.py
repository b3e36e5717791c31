# SPDX-License-Identifier: Apache-2.0
"""Which prompts boxes show, in the picture itself or in another one: as a robot's exemplars outlive their frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from esam3_core.data.sample import Sample, noun_of
from esam3_core.distill.prompts import Example, Prompt

UNNAMED_SHARE = 0.5  # of the prompts for a noun that boxes show which say no word
DENIED_SHARE = 0.4  # of those shown in their own picture that also show something else, as what is not meant


def show(
    prompts: list[Prompt], sample: Sample, share: float, room: int, rng: np.random.Generator
) -> list[Prompt]:
    """Let boxes in the picture show the concept of some true prompts, with or without its name.

    Without a name a box means its noun: nobody could tell from one red cup that red is what counts.

    Args:
        sample: the picture after augmentation.
        share: of the true prompts that are shown.
        room: E, exemplars of one concept.
    """
    return [
        _shown(prompt, sample, room, rng) if prompt.hits and rng.random() < share else prompt for prompt in prompts
    ]


def show_elsewhere(
    asked: Sequence[list[Prompt]], samples: Sequence[Sample], share: float, rng: np.random.Generator
) -> list[list[Prompt]]:
    """Let a box in another picture of the batch show the concept of some prompts, also of false ones.

    A student that only sees boxes of what is there learns that a box means "there".

    Args:
        asked: B lists of prompts; samples: their pictures after augmentation.
        share: of the prompts without exemplars that are shown, where another picture has such a thing.
    """
    return [
        [
            prompt if prompt.examples or rng.random() >= share else _shown_elsewhere(prompt, own, samples, rng)
            for prompt in prompts
        ]
        for own, prompts in enumerate(asked)
    ]


def _shown(prompt: Prompt, sample: Sample, room: int, rng: np.random.Generator) -> Prompt:
    count = int(rng.integers(1, min(3, room, len(prompt.hits)) + 1))
    positive = [int(i) for i in rng.choice(prompt.hits, count, replace=False)]
    others = [i for i in range(len(sample.labels)) if i not in prompt.hits]
    negative = []
    if others and count < room and rng.random() < DENIED_SHARE:
        negative = [int(others[rng.integers(len(others))])]
    examples = tuple(_example(i, i in positive, rng) for i in positive + negative)
    return replace(prompt, examples=examples, named=_is_named(prompt, rng))


def _shown_elsewhere(prompt: Prompt, own: int, samples: Sequence[Sample], rng: np.random.Generator) -> Prompt:
    places = [
        (picture, instance)
        for picture, sample in enumerate(samples)
        for instance, label in enumerate(sample.labels)
        if picture != own and prompt.phrase in label.phrases
    ]
    if not places:
        return prompt
    picture, instance = places[rng.integers(len(places))]
    examples = (_example(instance, True, rng),)
    return replace(prompt, examples=examples, shown_in=picture, named=_is_named(prompt, rng))


def _example(instance: int, positive: bool, rng: np.random.Generator) -> Example:
    return Example(instance, positive, tuple(rng.normal(0, 0.06, 4).clip(-0.15, 0.15)))


def _is_named(prompt: Prompt, rng: np.random.Generator) -> bool:
    is_noun = prompt.phrase == noun_of(prompt.phrase)
    return not (is_noun and rng.random() < UNNAMED_SHARE)
