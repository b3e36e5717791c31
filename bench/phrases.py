# SPDX-License-Identifier: Apache-2.0
"""How a bundle understands phrases: colours, words it never saw with a picture, and words that mean nothing here.

    python bench/phrases.py --scenes FOLDER [--bundle tabletop] [--limit 150] [--json FILE]

`colour`: two things of one noun in one picture, of two colours; the best answer to "red cup" must be a red one. Chance
is one half. `synonym`: cgF1 when things that are there, and others that are not, are asked for by words that the vision
training never used, beside the nouns themselves. `silent`: share of questions without an answer in the picture (letters
without sense, names of things that no scene has) to which something is found.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from esam3_core import load
from esam3_core.config import RuntimeConfig
from esam3_core.data.sample import Sample, truth
from esam3_core.data.scenes import SceneShards
from esam3_core.distill.text.lexicon import HELD_OUT
from esam3_core.metrics.concepts import SAME_INSTANCE, score
from esam3_core.metrics.evaluate import chosen, detect, pairs_of
from esam3_core.metrics.pairs import NOUN, Pair
from esam3_core.metrics.questions import Question
from esam3_core.runtime.student import Student
from esam3_core.scenes.vocabulary import COLOURS, NOUNS, SYNONYMS

NONSENSE = ("qwzx", "blorf", "zzgth", "mopkal", "xxyyzz", "frindle")
ABSENT = ("elephant", "bus", "airplane", "horse", "train", "shark", "tank", "castle")
ASKED_SILENT = 4  # of each kind, per picture


def main() -> None:
    """Ask, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, required=True, help="held-out scene shards")
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=150, help="pictures (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    student = load(arguments.bundle, RuntimeConfig(max_concepts=64, text_cache=4096))
    samples = SceneShards(arguments.scenes)
    pictures = [samples[i] for i in chosen(len(samples), arguments.limit)]
    result = measure(student, pictures) | {"bundle": arguments.bundle, "pictures": len(pictures)}
    for name, value in result.items():
        print(f"{name:>28}  {value:.3f}" if isinstance(value, float) else f"{name:>28}  {value}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(student: Student, pictures: list[Sample]) -> dict[str, Any]:
    """All three measures over the pictures."""
    unseen = unseen_words()
    colours: list[bool] = []
    asked_colours = 0
    named: list[Pair] = []
    reworded: list[Pair] = []
    heard = {"nonsense": [0, 0], "absent": [0, 0]}
    threshold = student.detector.score_threshold
    for number, sample in enumerate(tqdm(pictures, unit="picture")):
        rng = np.random.default_rng(number)
        twins = list(twin_questions(sample))
        found = pairs_of(sample, twins, detect(student, sample, [q.phrase for q in twins])) if twins else []
        asked_colours += len(found)
        colours += [told for pair in found if (told := points_right(pair)) is not None]
        nouns, others = synonym_questions(sample, unseen, rng)
        answers = detect(student, sample, [q.phrase for q in (*nouns, *others)])
        named += pairs_of(sample, nouns, answers)
        reworded += pairs_of(sample, others, answers)
        for kind, words in (("nonsense", NONSENSE), ("absent", ABSENT)):
            picked = [words[int(i)] for i in rng.permutation(len(words))[:ASKED_SILENT]]
            heard[kind][0] += len({answer.concept for answer in student.segment(sample.image, picked)})
            heard[kind][1] += len(picked)
    return {
        "colour right": float(np.mean(colours)) if colours else float("nan"),
        "colour answered": len(colours) / max(1, asked_colours),
        "colour questions": asked_colours,
        "noun cgF1": float(score(named, threshold).cg_f1),
        "synonym cgF1": float(score(reworded, threshold).cg_f1),
        "synonym questions": len(reworded),
        **{f"{kind} found": found / max(1, asked) for kind, (found, asked) in heard.items()},
        **{f"{kind} questions": asked for kind, (_, asked) in heard.items()},
    }


def unseen_words() -> dict[str, tuple[str, ...]]:
    """Noun -> words for it that no picture of the vision training was ever asked with."""
    trained = {word for words in SYNONYMS.values() for word in words}
    words = {noun: tuple(w for w, nouns in HELD_OUT.items() if noun in nouns and w not in trained) for noun in NOUNS}
    return {noun: found for noun, found in words.items() if found}


def twin_questions(sample: Sample) -> Iterator[Question]:
    """A phrase of colour and noun for each of two things of one noun; its first hit is the one of that colour."""
    for noun in NOUNS:
        hits = {c: truth(sample, f"{c} {noun}") or [] for c in COLOURS}
        there = [colour for colour, found in hits.items() if found]
        everything = truth(sample, noun) or []
        if len(there) == 2 == len(everything):
            for colour, other in (there, there[::-1]):
                yield Question(f"{colour} {noun}", NOUN, (hits[colour][0], hits[other][0]))


def points_right(pair: Pair) -> bool | None:
    """Whether the best detection shows the thing of the asked colour; None if it shows neither."""
    if not len(pair.scores) or pair.ious[0].max() < SAME_INSTANCE:
        return None
    return bool(pair.ious[0, 0] > pair.ious[0, 1])


def synonym_questions(
    sample: Sample, unseen: dict[str, tuple[str, ...]], rng: np.random.Generator
) -> tuple[list[Question], list[Question]]:
    """The nouns whose answer is known, and the same questions in other words."""
    nouns, others = [], []
    for noun, words in unseen.items():
        hits = truth(sample, noun)
        if hits is None:
            continue
        nouns.append(Question(noun, NOUN, tuple(hits)))
        others.append(Question(words[int(rng.integers(len(words)))], NOUN, tuple(hits)))
    return nouns, others


if __name__ == "__main__":
    main()
