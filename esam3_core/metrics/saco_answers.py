# SPDX-License-Identifier: Apache-2.0
"""A bundle's answers to SA-Co's questions, in the official form of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from esam3_core.data.saco import PhrasePair, SacoPairs
from esam3_core.data.veval import SacoVideos, VideoPair
from esam3_core.metrics.evaluate import LOWEST_SCORE
from esam3_core.metrics.units import track_phrases
from esam3_core.runtime.errors import ConceptError
from esam3_core.runtime.masks import encode_rle
from esam3_core.runtime.student import Student
from esam3_core.runtime.text import normalise

PairAnswers = dict[int, list[dict[str, Any]]]
"""Id of a pair -> {"segmentation": RLE, "score": 0..1} of its detections."""


def answer_pictures(student: Student, source: SacoPairs, pairs: Sequence[PhrasePair]) -> PairAnswers:
    """Ask a bundle about every pair; a picture is encoded once for all its phrases.

    A phrase that the bundle does not take (too long) gets no detection.
    """
    groups: dict[str, list[PhrasePair]] = {}
    for pair in pairs:
        groups.setdefault(pair.file_name, []).append(pair)
    answers: PairAnswers = {}
    for name, group in tqdm(groups.items(), unit="picture", desc="SA-Co"):
        image = source.picture(name)
        asked = [(pair, phrase) for pair in group if (phrase := _taken(pair.phrase)) is not None]
        if not asked:
            continue
        found = student.segment(image, dict.fromkeys(phrase for _, phrase in asked))
        for pair, phrase in asked:
            answers[pair.id] = [
                {"segmentation": encode_rle(one.crop), "score": one.score}
                for one in found
                if one.concept == phrase and one.score >= LOWEST_SCORE
            ]
    return answers


def answer_videos(student: Student, source: SacoVideos, indices: Sequence[int]) -> list[dict[str, Any]]:
    """Track every phrase of every chosen video."""
    answers: list[dict[str, Any]] = []
    for index in tqdm(indices, unit="video", desc="VEval"):
        clip = source[index]
        pairs = [pair for pair in source.of(source.videos[index]["id"]) if _taken(pair.phrase) is not None]
        by_phrase: dict[str, list[VideoPair]] = {}
        for pair in pairs:
            by_phrase.setdefault(normalise(pair.phrase), []).append(pair)
        for unit in track_phrases(student, clip, [(phrase, "noun") for phrase in by_phrase]):
            for number, masklet in unit.tracks.items():
                rows = [encode_rle(masklet[frame]) if frame in masklet else None for frame in range(len(clip))]
                for pair in by_phrase[unit.phrase]:
                    answers.append(
                        {"video_id": pair.video, "category_id": pair.category, "score": unit.scores[number],
                         "segmentations": rows}
                    )  # fmt: skip
    return answers


def _taken(phrase: str) -> str | None:
    try:
        return normalise(phrase)
    except ConceptError:
        return None
