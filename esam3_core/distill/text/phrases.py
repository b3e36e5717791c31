# SPDX-License-Identifier: Apache-2.0
"""The phrase corpus of the text encoder: everyday nouns x attributes x templates, from the word lists beside it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from esam3_core.distill.text.lexicon import (
    AMBIGUOUS,
    ATTRIBUTE_GROUPS,
    CLAIMED,
    HELD_OUT,
    HELD_OUT_ATTRIBUTES,
    HYPERNYMS,
    MODERN,
    PLACES,
    PREFIXES,
    STATES,
    SYNONYMS,
)

NOUNS_FILE = Path(__file__).with_name("nouns.txt")
IRREGULAR = {"knife": "knives", "shelf": "shelves", "leaf": "leaves", "man": "men", "woman": "women", "foot": "feet",
             "child": "children", "person": "people", "mouse": "mice", "loaf": "loaves"}  # fmt: skip
NONSENSE_LETTERS = "abcdefghijklmnopqrstuvwxyzqwzxkv0123456789"


@dataclass(frozen=True)
class Phrase:
    """One line of the corpus."""

    text: str
    noun: str  # the noun alone, without attributes; empty for nonsense
    canonical: str  # the same meaning with a claimed noun and plain attribute words; the text itself if there is none
    canonical_noun: str
    claims: tuple[str, ...] | None  # claimed nouns it means; () = none of them; None = unknown
    attributes: tuple[str, ...] = field(default=())  # members of lexicon.ATTRIBUTES


@cache
def read_nouns() -> dict[str, tuple[str, ...]]:
    """nouns.txt: name -> claimed nouns it is a kind of (usually none)."""
    nouns = {}
    for line in NOUNS_FILE.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, claims = line.partition("=")
            nouns[name] = tuple(claims.split(",")) if claims else ()
    return nouns


def with_hypernyms(nouns: set[str]) -> tuple[str, ...]:
    """The nouns and those that are true of the same things, in the order of CLAIMED."""
    both = nouns | {HYPERNYMS[n] for n in nouns if n in HYPERNYMS}
    return tuple(n for n in CLAIMED if n in both)


@cache
def claimed_names() -> dict[str, tuple[str, ...]]:
    """Every name known to mean a claimed noun -> those claimed nouns, hypernyms included."""
    names: dict[str, set[str]] = {noun: {noun} for noun in CLAIMED}
    for noun, synonyms in SYNONYMS.items():
        for synonym in synonyms:
            names.setdefault(synonym, set()).add(noun)
    for name, claims in read_nouns().items():
        if claims and name not in AMBIGUOUS and name not in CLAIMED:
            names.setdefault(name, set()).update(claims)
    return {name: with_hypernyms(nouns) for name, nouns in names.items()}


def has_word(phrase: str, words: str) -> bool:
    """Whether the words stand in the phrase as whole words, also in the plural."""
    return f" {words} " in f" {phrase} " or f" {plural(words)} " in f" {phrase} "


def is_held_out(phrase: str) -> bool:
    """Whether a phrase holds a word that is kept out of the first phase of training."""
    return any(has_word(phrase, word) for word in (*HELD_OUT, *HELD_OUT_ATTRIBUTES))


@cache
def negative_nouns() -> list[str]:
    """Names of physical things that are none of the claimed nouns and name no part of one, sorted."""
    claimed = claimed_names()
    words = {word for name in (*CLAIMED, *AMBIGUOUS, "wineglass", "pot") for word in name.split()}
    return sorted(
        name
        for name in {*read_nouns(), *MODERN}
        if name not in claimed and not words & set(name.split()) and name not in AMBIGUOUS
    )


def plural(noun: str) -> str:
    """The plural of a noun phrase: the last word is inflected, or the first before "of"."""
    head, of, rest = noun.partition(" of ")
    first, space, last = head.rpartition(" ")
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith(("s", "x", "ch", "sh")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return first + space + last + of + rest


def with_article(phrase: str) -> str:
    """The phrase after "a" or "an"."""
    return f"{'an' if phrase[:1] in 'aeiou' else 'a'} {phrase}"


@dataclass(frozen=True)
class Word:
    """An attribute word and the attribute it means ("" for states, which have no class)."""

    text: str
    plain: str  # the plain word for it
    label: str


@cache
def attribute_words() -> dict[str, tuple[Word, ...]]:
    """Attribute words by group, the states included."""
    groups = {
        group: tuple(
            Word(text, name, f"{group}:{name}") for name, synonyms in names.items() for text in (name, *synonyms)
        )
        for group, names in ATTRIBUTE_GROUPS.items()
    }
    groups["state"] = tuple(Word(text, text, "") for text in STATES)
    return groups


def compose(noun: str, words: tuple[Word, ...] = (), prefix: str = "", place: str = "", many: bool = False) -> Phrase:
    """Build a phrase of attribute words, a noun and a place, with its canonical form."""
    claims: tuple[str, ...] | None = claimed_names().get(noun)
    if claims is None:
        last = noun.rpartition(" ")[2]
        claims = None if noun in AMBIGUOUS or last in CLAIMED else ()
    # the most specific claimed noun: "cup" of ("cup", "mug") would lose the handle
    specific = [c for c in claims or () if c not in {HYPERNYMS.get(other) for other in claims or ()}]
    target = specific[0] if specific else noun
    shown = plural(noun) if many else noun
    text = " ".join([*(w.text for w in words), shown])
    text = with_article(text) if prefix == "a" else f"{prefix} {text}".strip()
    return Phrase(
        text=f"{text} {place}".strip(),
        noun=noun,
        canonical=" ".join([*(w.plain for w in words), target]),
        canonical_noun=target,
        claims=claims,
        attributes=tuple(w.label for w in words if w.label),
    )


def random_words(rng: random.Random, groups: tuple[str, ...]) -> tuple[Word, ...]:
    """One attribute word of each group, in this order."""
    return tuple(rng.choice(attribute_words()[group]) for group in groups)


MIXES = (("size", "colour"), ("colour", "pattern"), ("colour", "material"), ("pattern",), ("material",), ("colour",),
         ("size",), ("state",), ("state", "colour"), ("size", "material"), ("size", "colour", "material"),
         ("size", "pattern"), ("pattern", "material"))  # fmt: skip


def variants(noun: str, count: int, rng: random.Random) -> Iterator[Phrase]:
    """`count` random phrases about a noun."""
    for _ in range(count):
        words = random_words(rng, rng.choice(MIXES)) if rng.random() < 0.8 else ()
        prefix = rng.choice(PREFIXES) if rng.random() < 0.35 else ""
        place = rng.choice(PLACES).format(other=rng.choice(CLAIMED)) if rng.random() < 0.25 else ""
        yield compose(noun, words, prefix, place, many=not prefix and rng.random() < 0.2)


def about_claimed(rng: random.Random) -> Iterator[Phrase]:
    """Every claimed name with every single attribute word (claimed nouns) and many random mixes."""
    for name in claimed_names():
        yield compose(name)
        yield compose(name, many=True)
        if name in CLAIMED:
            for words in attribute_words().values():
                yield from (compose(name, (word,)) for word in words)
            for prefix in PREFIXES:
                yield compose(name, prefix=prefix)
        yield from variants(name, 400 if name in CLAIMED else 60, rng)


def about_others(rng: random.Random) -> Iterator[Phrase]:
    """Everyday things that are none of the claimed nouns."""
    for name in sorted({*read_nouns(), *MODERN, *AMBIGUOUS} - claimed_names().keys()):
        yield compose(name)
        yield from variants(name, 5, rng)


def about_nothing(rng: random.Random, count: int) -> Iterator[Phrase]:
    """Attributes without a thing, letters without a sense, empty text."""
    for words in attribute_words().values():
        for word in words:
            for thing in ("thing", "object", "things"):
                yield Phrase(f"{word.text} {thing}", thing, f"{word.plain} {thing}", thing, (),
                             (word.label,) if word.label else ())  # fmt: skip
    for _ in range(count):
        pieces = ["".join(rng.choices(NONSENSE_LETTERS, k=rng.randint(2, 9))) for _ in range(rng.randint(1, 3))]
        text = " ".join(pieces)
        yield Phrase(text, "", text, "", ())


def about_words(words: list[str]) -> Iterator[Phrase]:
    """Common words of any kind, so that a phrase may hold words that name no thing."""
    for word in words:
        yield Phrase(word, "", word, "", None)


def corpus(seed: int = 0, words: list[str] | None = None) -> list[Phrase]:
    """The whole corpus, without repeats, held-out phrases included (see `is_held_out`).

    Args:
        seed: of the random mixes.
        words: more common words to add alone.
    """
    rng = random.Random(seed)
    unique: dict[str, Phrase] = {}
    for source in (about_claimed(rng), about_others(rng), about_words(words or []), about_nothing(rng, 3000)):
        for phrase in source:
            unique.setdefault(phrase.text, phrase)
    return list(unique.values())
