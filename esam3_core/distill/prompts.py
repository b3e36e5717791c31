# SPDX-License-Identifier: Apache-2.0
"""Which phrases to ask for a picture: some that are true, some that look true and are not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esam3_core.data.sample import Sample, noun_of, truth
from esam3_core.distill.text.phrases import plural
from esam3_core.scenes.vocabulary import COLOURS, LOOK_ALIKES, MATERIALS, NOUNS, SYNONYMS

PLURAL_SHARE = 0.2  # of prompts that ask in the plural, with an article or for a synonym
ATTRIBUTE_SHARE = 0.45  # of the true prompts that name more than a noun
UNLABELLED = frozenset({
    "arm", "block", "brick", "cable", "cloth", "cord", "floor", "hand", "headphones", "kettle", "keyboard",
    "lamp", "leaf", "leg", "pan", "paper", "phone", "plant", "pot", "sheet", "sleeve", "table", "telephone",
    "tool", "towel", "toy", "wall", "wire",
})  # fmt: skip
"""Words for things that scenes show without naming them: nobody can deny them."""
SAYS_MORE = {*COLOURS, *MATERIALS}


@dataclass(frozen=True)
class Example:
    """An instance of a picture as an exemplar."""

    instance: int
    positive: bool
    drift: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # of cx, cy, w, h, in sides of its box


@dataclass(frozen=True)
class Prompt:
    """A question to the student and its answer."""

    text: str  # as a person might put it
    phrase: str  # as the labels put it
    hits: tuple[int, ...]  # indices of the instances it is true of
    examples: tuple[Example, ...] = ()
    shown_in: int | None = None  # which picture of the batch the examples lie in; None = the one that is asked about
    named: bool = True  # whether the text is said at all


def choose_prompts(
    sample: Sample, count: int, others: list[str], rng: np.random.Generator
) -> list[Prompt]:
    """Choose `count` prompts whose answer is known.

    Args:
        sample: the picture after augmentation.
        count: how many; fewer come back only if the picture's labels answer fewer.
        others: nouns outside the vocabulary, to deny.
        rng: source of chance.
    """
    wanted_true = int(rng.integers(1, max(count, 2)))
    true = _true_phrases(sample, wanted_true, rng)
    prompts = [_prompt(phrase, hits, rng) for phrase, hits in true]
    prompts += [_prompt(phrase, (), rng) for phrase in _false_phrases(sample, count - len(prompts), others, rng)]
    return prompts


def _true_phrases(
    sample: Sample, count: int, rng: np.random.Generator
) -> list[tuple[str, tuple[int, ...]]]:
    """Phrases that are true of something: nouns and attributed nouns, each kind of object as likely as another."""
    by_noun: dict[str, list[str]] = {}
    for label in sample.labels:
        for phrase in label.phrases:
            by_noun.setdefault(noun_of(phrase), []).append(phrase)
    chosen: dict[str, tuple[int, ...]] = {}
    nouns = sorted(by_noun)
    rng.shuffle(nouns)
    nouns.sort(key=lambda noun: noun not in NOUNS)
    for noun in nouns * 2:
        if len(chosen) == count:
            break
        attributed = sorted({p for p in by_noun[noun] if p != noun})
        wants_more = attributed and rng.random() < ATTRIBUTE_SHARE
        phrase = attributed[rng.integers(len(attributed))] if wants_more else noun
        hits = truth(sample, phrase)
        if hits:
            chosen[phrase] = tuple(hits)
    return list(chosen.items())


def _false_phrases(
    sample: Sample, count: int, others: list[str], rng: np.random.Generator
) -> list[str]:
    """Phrases known to be true of nothing: hard negatives, what things look like, absent nouns, other nouns."""
    chosen: list[str] = []
    alike = sorted({a for label in sample.labels for p in label.phrases for a in LOOK_ALIKES.get(noun_of(p), ())})
    for _ in range(20 * max(count, 0)):
        if len(chosen) == count:
            break
        kind = rng.random()
        if kind < 0.45 and sample.absent:
            phrase = sample.absent[rng.integers(len(sample.absent))]
        elif 0.45 <= kind < 0.65 and alike:
            phrase = alike[rng.integers(len(alike))]
        elif kind < 0.85 or not others:
            phrase = NOUNS[rng.integers(len(NOUNS))]
        else:
            phrase = others[rng.integers(len(others))]
        denied = _unheard(sample, phrase) if phrase in others else truth(sample, phrase) == []
        if denied and phrase not in chosen:
            chosen.append(phrase)
    return chosen


def _unheard(sample: Sample, phrase: str) -> bool:
    """Is a noun outside the vocabulary not even part of a label? Then it is as good as absent."""
    if sample.checked_only:
        return False
    words = set(phrase.split())
    said = {word for label in (*sample.labels, *sample.hidden) for known in label.phrases for word in known.split()}
    return not words & (UNLABELLED | said)


def _prompt(phrase: str, hits: tuple[int, ...], rng: np.random.Generator) -> Prompt:
    return Prompt(reworded(phrase, PLURAL_SHARE, rng), phrase, hits)


def reworded(phrase: str, share: float, rng: np.random.Generator) -> str:
    """A phrase as a person might put it: in `share` of the cases with an article, in the plural or by a synonym.

    Synonyms that name a colour or a material ("paper cup") say more than the noun does, and are left out.
    """
    if rng.random() >= share:
        return phrase
    noun = noun_of(phrase)
    synonyms = [words for words in SYNONYMS.get(noun, ()) if words.split()[0] not in SAYS_MORE]
    way = rng.integers(3)
    if way == 0 and synonyms:
        return phrase[: -len(noun)] + synonyms[rng.integers(len(synonyms))]
    if way == 1:
        return ("an " if phrase[0] in "aeiou" else "a ") + phrase
    return plural(phrase)
