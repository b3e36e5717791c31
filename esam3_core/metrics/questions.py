# SPDX-License-Identifier: Apache-2.0
"""What a student is asked about a picture in an evaluation. The same picture always gets the same questions."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from esam3_core.data.sample import Sample, noun_of, truth
from esam3_core.metrics.pairs import ATTRIBUTE, HARD_NEGATIVE, NOUN
from esam3_core.scenes.vocabulary import NOUNS, is_ambiguous

ATTRIBUTES, HARD_NEGATIVES, ABSENT_NOUNS = 3, 4, 3  # per picture: as many pairs without an instance as with one


@dataclass(frozen=True)
class Question:
    """A phrase whose answer is known."""

    phrase: str
    kind: str  # one of pairs.KINDS
    hits: tuple[int, ...]  # indices of the instances it is true of


def scene_questions(sample: Sample) -> list[Question]:
    """Every noun that is there, a few phrases with an attribute, hard negatives, and nouns that are absent."""
    rng = np.random.default_rng(zlib.crc32(sample.key.encode()))
    said = sorted({phrase for label in sample.labels for phrase in label.phrases})
    nouns = [phrase for phrase in said if phrase in NOUNS]
    attributes = [phrase for phrase in said if phrase not in NOUNS and noun_of(phrase) in NOUNS]
    rng.shuffle(attributes)
    look_alikes = sorted(sample.absent)
    rng.shuffle(look_alikes)
    absent = [noun for noun in NOUNS if not any(is_ambiguous(noun, here) for here in nouns)]
    rng.shuffle(absent)
    return [
        *_known(sample, nouns, NOUN),
        *_known(sample, attributes, ATTRIBUTE)[:ATTRIBUTES],
        *_known(sample, look_alikes, HARD_NEGATIVE)[:HARD_NEGATIVES],
        *_known(sample, absent, NOUN)[:ABSENT_NOUNS],
    ]


def real_questions(sample: Sample, claimed: Iterable[str]) -> list[Question]:
    """Every claimed noun of which the labels say where it is, or that it is not there."""
    return _known(sample, claimed, NOUN)


def _known(sample: Sample, phrases: Iterable[str], kind: str) -> list[Question]:
    answers = [(phrase, truth(sample, phrase)) for phrase in dict.fromkeys(phrases)]
    return [Question(phrase, kind, tuple(hits)) for phrase, hits in answers if hits is not None]
