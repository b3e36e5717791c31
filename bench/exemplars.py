# SPDX-License-Identifier: Apache-2.0
"""Concepts that are named, shown by a box, or both: cgF1 by SAM 3's rule.

    python bench/exemplars.py [--scenes FOLDER] [--real FOLDER ...] [--bundle tabletop] [--limit 150] [--json FILE]

Every picture is asked about a kind of thing of which it holds at least two; the box is that of its largest instance.
The same question, box and all, is then asked about a picture that holds none of them. `novel` are kinds outside the
vocabulary that the bundle was taught: nobody ever named one of them to it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from esam3_core import load
from esam3_core.data.real import RealFolder
from esam3_core.data.sample import Sample, Samples, noun_of, truth
from esam3_core.data.scenes import SceneShards
from esam3_core.metrics.concepts import score
from esam3_core.metrics.pairs import NOUN, Pair
from esam3_core.runtime.exemplars import Exemplar
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.student import Student
from esam3_core.scenes.vocabulary import NOUNS

WAYS = ("text", "box", "both")
MIN_SHARE = 0.004  # of the picture that the shown instance covers
TRIES = 40  # pictures that are looked at for one without the thing


@dataclass(frozen=True)
class Question:
    """A kind of thing in one picture, and another picture without it."""

    noun: str
    novel: bool
    sample: Sample
    hits: list[int]
    absent: Sample


def main() -> None:
    """Ask, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=Path, help="held-out scene shards")
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="folders of real pictures; their fifth part")
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=150, help="questions per data set (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    sets: dict[str, Samples] = {"scenes": SceneShards(arguments.scenes)} if arguments.scenes else {}
    sets |= {folder.name: RealFolder(folder, "val") for folder in arguments.real}
    if not sets:
        parser.error("nothing to ask about: give --scenes or --real")
    student = load(arguments.bundle)
    result: dict[str, Any] = {"bundle": arguments.bundle}
    print(f"{'data':>14}  {'kinds':>8}  {'asked by':>8}  {'cgF1':>5}  {'pmF1':>5}  {'MCC':>5}  {'questions':>9}")
    for name, samples in sets.items():
        asked = list(questions(samples, arguments.limit))
        for novel in (False, True):
            part = [question for question in asked if question.novel == novel]
            for way in WAYS if part else ():
                pairs = [pair for q in tqdm(part, desc=f"{name} {way}", leave=False) for pair in ask(student, q, way)]
                scores = score(pairs, student.detector.score_threshold)
                kinds = "novel" if novel else "known"
                result[f"{name} {kinds} {way}"] = dataclasses.asdict(scores) | {"questions": len(part)}
                print(f"{name:>14}  {kinds:>8}  {way:>8}  {100 * scores.cg_f1:5.1f}  {100 * scores.pm_f1:5.1f}  "
                      f"{scores.il_mcc:5.2f}  {len(part):9}")  # fmt: skip
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def questions(samples: Samples, limit: int) -> Iterator[Question]:
    """Up to `limit` questions, the same at every call."""
    rng = np.random.default_rng(0)
    found = 0
    for index in rng.permutation(len(samples)):
        if found == limit:
            return
        sample = samples[int(index)]
        nouns = sorted({noun_of(phrase) for label in sample.labels for phrase in label.phrases})
        rng.shuffle(nouns)
        for noun in nouns:
            hits = truth(sample, noun)
            if not hits or len(hits) < 2 or sample.masks[hits].sum((1, 2)).max() < MIN_SHARE * sample.masks[0].size:
                continue
            absent = without(samples, noun, rng)
            if absent is not None:
                found += 1
                yield Question(noun, noun not in NOUNS, sample, hits, absent)
                break


def without(samples: Samples, noun: str, rng: np.random.Generator) -> Sample | None:
    """A picture that is known to hold no such thing."""
    for _ in range(TRIES):
        sample = samples[int(rng.integers(len(samples)))]
        if truth(sample, noun) == []:
            return sample
    return None


def ask(student: Student, question: Question, way: str) -> Iterator[Pair]:
    """Ask about the picture that shows it, then about the one that does not."""
    image, size = question.sample.image, question.sample.image.shape[:2]
    crops = [CroppedMask.from_full(question.sample.masks[i] > 0) for i in question.hits]
    largest = max(crops, key=lambda crop: crop.area)
    x, y, width, height = largest.roi
    exemplar = Exemplar((float(x), float(y), float(width), float(height)), concept=question.noun)
    names = () if way == "box" else (question.noun,)
    features = student.encode_image(image)
    shown = {} if way == "text" else student.encode_exemplars(features, {question.noun: [exemplar]}, names, size)
    prompt = student.encode_concepts((question.noun,), shown)
    there = student.refine_detections(image, student.detect(features, prompt, size))
    yield pair_of(question, there, crops)
    other = question.absent.image
    yield pair_of(question, student.detect(student.encode_image(other), prompt, other.shape[:2]), [])


def pair_of(question: Question, found: list[Any], truths: list[CroppedMask]) -> Pair:
    """Detections beside the instances."""
    ious = iou_matrix([one.crop for one in found], truths) if found else np.zeros((0, len(truths)))
    scores = np.array([one.score for one in found], float)
    return Pair(question.sample.key, question.noun, NOUN, scores, np.asarray(ious).reshape(len(found), len(truths)))


if __name__ == "__main__":
    main()
