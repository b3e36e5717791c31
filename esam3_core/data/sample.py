# SPDX-License-Identifier: Apache-2.0
"""A picture, its instances, and what is known about which phrases are true of them.

Real data sets are silent about most phrases: a COCO "cup" may be a mug or red, and a plate beside it is not annotated
at all. `truth` therefore has three answers: these instances, none, or unknown; unknown pairs are never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from esam3_core.scenes.vocabulary import NOUNS

_BY_LENGTH = sorted(NOUNS, key=len, reverse=True)


@dataclass(frozen=True)
class Label:
    """What may be said of one instance."""

    phrases: frozenset[str]  # true of it
    maybe: frozenset[str] = frozenset()  # nouns that may or may not be true of it
    attributed: bool = False  # phrases lists every true colour, pattern, material and size too
    denied: frozenset[str] = frozenset()  # phrases that somebody checked and found false of it


@dataclass
class Sample:
    """One picture for training or evaluation."""

    image: np.ndarray  # uint8 [H, W, 3] RGB
    masks: np.ndarray  # uint8 [n, H, W], 0 or 1
    labels: list[Label]  # n
    ignored: np.ndarray | None = None  # uint8 [H, W]: crowds and other regions nothing is known about
    absent: tuple[str, ...] = ()  # hard negatives: phrases that look right but match nothing
    known_nouns: frozenset[str] | None = None  # nouns (or whole phrases) annotated in this picture; None = all
    key: str = ""
    hidden: list[Label] = field(default_factory=list)  # objects that show too little to be found or denied
    checked_only: bool = False  # labels say nothing about words they do not mention: those are never denied


class Samples(Protocol):
    """A data set with random access."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


def noun_of(phrase: str) -> str:
    """The vocabulary's noun that ends a phrase ("red wine glass" -> "wine glass"), else the phrase itself."""
    for noun in _BY_LENGTH:
        if phrase == noun or phrase.endswith(" " + noun):
            return noun
    return phrase


def truth(sample: Sample, phrase: str) -> list[int] | None:
    """Indices of the instances a phrase is true of; an empty list if none is, None if nobody knows."""
    noun = noun_of(phrase)
    hits = [i for i, label in enumerate(sample.labels) if phrase in label.phrases]
    if not hits and any(_may_be(label, phrase, noun) for label in sample.hidden):
        return None
    if not hits and sample.known_nouns is not None and not {noun, phrase} & sample.known_nouns:
        return None
    if any(_is_unsure(label, phrase, noun) for label in sample.labels):
        return None
    return hits


def says(label: Label, phrase: str) -> bool | None:
    """Whether a phrase is true of an instance; None if nobody knows."""
    if phrase in label.phrases:
        return True
    return None if _is_unsure(label, phrase, noun_of(phrase)) else False


def _is_unsure(label: Label, phrase: str, noun: str) -> bool:
    """Whether nobody knows if a phrase is true of an instance."""
    if phrase in label.denied:
        return False
    listed = label.attributed or phrase in label.phrases
    if phrase == noun and not listed and any(noun_of(known) == noun for known in label.phrases):
        return True  # a data set that calls it "beer bottle" alone does not say that it is no bottle
    return noun in label.maybe or (phrase != noun and noun in label.phrases and not label.attributed)


def _may_be(label: Label, phrase: str, noun: str) -> bool:
    return phrase in label.phrases or _is_unsure(label, phrase, noun)
