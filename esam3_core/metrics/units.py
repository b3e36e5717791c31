# SPDX-License-Identifier: Apache-2.0
"""Concepts in clips: every (clip, phrase) is a unit; its tracks beside its objects."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from esam3_core.data.clip import Clip, Clips
from esam3_core.metrics.hota import HotaCounts, HotaScorer, HotaScores, hota_scores
from esam3_core.metrics.pairs import ATTRIBUTE, HARD_NEGATIVE, NOUN, Pair
from esam3_core.metrics.saco import SCORE, SacoScores, saco_scores
from esam3_core.metrics.video import MaskScores, TrackScorer, TrackScores, score_masks
from esam3_core.runtime.masks import CroppedMask, intersection
from esam3_core.runtime.student import Student
from esam3_core.scenes.vocabulary import NOUNS, is_ambiguous

Masklet = Mapping[int, CroppedMask]
"""Frame index -> mask, of the frames in which it shows."""

ATTRIBUTES, HARD_NEGATIVES, ABSENT = 3, 3, 2  # phrases per clip, beside the nouns that are there


@dataclass(frozen=True)
class Unit:
    """What a tracker found for a phrase in a clip, beside what is there."""

    clip: str
    phrase: str
    kind: str  # one of pairs.KINDS
    frames: tuple[int, ...]  # that are measured
    size: tuple[int, int]  # H, W
    truths: Mapping[int, Masklet]  # object -> masks
    tracks: Mapping[int, Masklet]  # track -> masks
    scores: Mapping[int, float]  # track -> its best score

    def pair(self) -> Pair:
        """The unit as cgF1 sees it: IoUs over space and time."""
        order = sorted(self.tracks, key=lambda number: -self.scores[number])
        ious = [[volume_iou(self.tracks[a], truth) for truth in self.truths.values()] for a in order]
        scores = np.array([self.scores[number] for number in order], float)
        return Pair(self.clip, self.phrase, self.kind, scores, np.array(ious).reshape(len(order), len(self.truths)))

    def at(self, frame: int) -> tuple[dict[int, CroppedMask], dict[int, CroppedMask]]:
        """Objects and tracks that show in a frame."""
        truths = {number: masklet[frame] for number, masklet in self.truths.items() if frame in masklet}
        tracks = {number: masklet[frame] for number, masklet in self.tracks.items() if frame in masklet}
        return truths, tracks


@dataclass(frozen=True)
class ClipConceptScores:
    """Of all units of a set of clips."""

    concepts: SacoScores
    tracks: HotaScores
    masks: MaskScores | None  # of each object with the one track that fits it best, over all its frames
    links: TrackScores  # identity switches, coverage
    units: int
    clips: int


def track_phrases(student: Student, clip: Clip, phrases: Sequence[tuple[str, str]]) -> list[Unit]:
    """Follow phrases through a clip, several at a time.

    Args:
        phrases: (phrase, kind); of each, everything there must be annotated.
    """
    found: dict[str, dict[int, dict[int, CroppedMask]]] = {phrase: {} for phrase, _ in phrases}
    scores: dict[str, dict[int, float]] = {phrase: {} for phrase, _ in phrases}
    truth: dict[int, Mapping[int, CroppedMask]] = {}
    size = (1, 1)
    room = student.config.max_concepts
    for start in range(0, len(phrases), room):
        part = [phrase for phrase, _ in phrases[start : start + room]]
        tracker = student.track(part)
        said = dict(zip(tracker.concepts, part, strict=True))
        for frame in clip.read(range(len(clip))):
            size = frame.image.shape[0], frame.image.shape[1]
            for track in tracker.step(frame.image, frame.index / clip.rate):
                phrase = said[track.concept]
                if track.crop.area and frame.masks is not None:
                    found[phrase].setdefault(track.id, {})[frame.index] = track.crop
                    scores[phrase][track.id] = max(scores[phrase].get(track.id, 0.0), track.score)
            if frame.masks is not None:
                truth[frame.index] = frame.masks
    return [
        Unit(clip.key, phrase, kind, tuple(truth), size, _of_phrase(clip, truth, phrase), found[phrase], scores[phrase])
        for phrase, kind in phrases
    ]


def score_units(units: Sequence[Unit]) -> ClipConceptScores:
    """cgF1, HOTA, J&F and identity switches of units.

    Raises:
        ValueError: there is no unit.
    """
    if not units:
        raise ValueError("no phrase to measure: do the clips hold anything that is annotated?")
    pairs = [unit.pair() for unit in units]
    links = TrackScorer()
    for number, unit in enumerate(units):
        _link(unit, links, number)
    frames = (masks for unit in units for masks in _masks(unit))
    return ClipConceptScores(
        saco_scores(pairs, SCORE),
        hota_scores(_hota(unit) for unit in units),
        score_masks(frames) if any(unit.truths for unit in units) else None,
        links.result(),
        len(units),
        len({unit.clip for unit in units}),
    )


def measure_clips(student: Student, clips: Clips, limit: int = 0) -> list[Unit]:
    """Rendered clips: nouns and phrases that are there, hard negatives, and nouns that are absent."""
    count = min(limit, len(clips)) if limit else len(clips)
    units: list[Unit] = []
    for index in tqdm(range(count), unit="clip", desc="track"):
        clip = clips[index * len(clips) // count]
        units += track_phrases(student, clip, clip_questions(clip))
    return units


def clip_questions(clip: Clip) -> list[tuple[str, str]]:
    """What is asked about a clip whose labels say everything; the same clip always gets the same questions."""
    rng = np.random.default_rng(zlib.crc32(clip.key.encode()))
    shown = {number for index in clip.annotated for number in clip.masks(index)}
    said = sorted({phrase for number in shown for phrase in clip.labels[number].phrases})
    nouns = [phrase for phrase in said if phrase in NOUNS]
    attributes = [phrase for phrase in said if phrase not in NOUNS]
    hard = sorted(clip.absent)
    absent = [noun for noun in NOUNS if not any(is_ambiguous(noun, here) for here in nouns)]
    for phrases in (attributes, hard, absent):
        rng.shuffle(phrases)
    return [
        *((noun, NOUN) for noun in nouns),
        *((phrase, ATTRIBUTE) for phrase in attributes[:ATTRIBUTES]),
        *((phrase, HARD_NEGATIVE) for phrase in hard[:HARD_NEGATIVES]),
        *((noun, NOUN) for noun in absent[:ABSENT]),
    ]


def volume_iou(a: Masklet, b: Masklet) -> float:
    """IoU of two masklets over space and time, 0..1; two empty ones agree: 1."""
    shared = sum(intersection(a[frame], b[frame]) for frame in a.keys() & b.keys())
    whole = sum(crop.area for masklet in (a, b) for crop in masklet.values()) - shared
    return shared / whole if whole else 1.0


def _of_phrase(clip: Clip, truth: Mapping[int, Mapping[int, CroppedMask]], phrase: str) -> dict[int, Masklet]:
    objects = [number for number, label in clip.labels.items() if phrase in label.phrases]
    masklets = {number: {frame: masks[number] for frame, masks in truth.items() if number in masks}
                for number in objects}  # fmt: skip
    return {number: masklet for number, masklet in masklets.items() if masklet}


def _hota(unit: Unit) -> HotaCounts:
    scorer = HotaScorer()
    for frame in unit.frames:
        scorer.add(*unit.at(frame))
    return scorer.counts()


def _masks(unit: Unit) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(found, truth) of each object in each frame that shows it, the track being the one that fits it best."""
    truths, tracks = list(unit.truths.values()), list(unit.tracks.values())
    ious = np.array([[volume_iou(a, b) for b in tracks] for a in truths]).reshape(len(truths), len(tracks))
    fits = {int(i): tracks[j] for i, j in zip(*linear_sum_assignment(-ious), strict=True) if ious[i, j] > 0}
    empty = CroppedMask.empty(unit.size)
    for i, masklet in enumerate(truths):
        for frame, crop in masklet.items():
            yield fits.get(i, {}).get(frame, empty).full(), crop.full()


def _link(unit: Unit, scorer: TrackScorer, number: int) -> None:
    """Ids are made the unit's own: a unit is a clip of its own."""
    for frame in unit.frames:
        truths, tracks = unit.at(frame)
        scorer.add({number * 10**6 + n: crop for n, crop in truths.items()},
                   {number * 10**6 + n: crop for n, crop in tracks.items()})  # fmt: skip


def as_dict(scores: ClipConceptScores) -> dict[str, object]:
    """For JSON."""
    values = dataclasses.asdict(scores)
    if scores.masks is not None:
        values["masks"]["j_and_f"] = scores.masks.j_and_f
    return values
