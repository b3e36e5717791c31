# SPDX-License-Identifier: Apache-2.0
"""SA-Co/VEval's official scores: cgF1 over masklets and HOTA per phrase (pHOTA).

The rule of facebookresearch/sam3, sam3/eval/saco_veval_evaluators.py: a (video, phrase) is a unit, the IoU of two
masklets is that of their volumes; for HOTA each unit is a video of its own, and units with neither a masklet nor a
prediction are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pycocotools import mask as coco

from esam3_core.data.rle import compress
from esam3_core.data.veval import VideoPair
from esam3_core.metrics.hota import HotaCounts, HotaScorer, HotaScores, hota_scores
from esam3_core.metrics.pairs import NOUN, Pair
from esam3_core.metrics.saco import SCORE, SacoScores, saco_scores

Masklet = Sequence[dict[str, Any] | None]
"""An RLE per frame, None where the object does not show."""


@dataclass(frozen=True)
class VideoScores:
    """Of all (video, phrase) units."""

    concepts: SacoScores
    tracks: HotaScores


def score_videos(
    pairs: Sequence[VideoPair], predictions: Sequence[dict[str, Any]], sizes: Mapping[int, tuple[int, int]]
) -> VideoScores:
    """Official scores of predictions in YouTube-VIS's form.

    Args:
        predictions: {"video_id", "category_id", "score", "segmentations": [RLE or None per frame]}.
        sizes: video id -> (H, W).

    Raises:
        ValueError: a prediction is of no known video, or a mask is torn.
    """
    asked = {(pair.video, pair.category): pair for pair in pairs}
    groups: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for item in predictions:
        if item["video_id"] not in sizes:
            raise ValueError(f"a prediction is of video {item['video_id']}, which the annotations do not have")
        groups.setdefault((item["video_id"], item["category_id"]), []).append(item)
    units, counts = [], []
    for key in sorted(asked.keys() | groups.keys()):
        pair = asked.get(key) or VideoPair(key[0], key[1], f"category {key[1]}", ())
        size = sizes[key[0]]
        found = sorted(groups.get(key, ()), key=lambda item: -item["score"])
        rows = [_checked(item["segmentations"], size) for item in found]
        truths = [_checked(masklet, size) for masklet in pair.masklets]
        scores = np.array([item["score"] for item in found], float)
        ious = np.array([[volume_iou(a, b) for b in truths] for a in rows]).reshape(len(rows), len(truths))
        units.append(Pair(str(key[0]), pair.phrase, NOUN, scores, ious))
        sure = [row for row, score in zip(rows, scores, strict=True) if score > SCORE]
        if truths or sure:
            counts.append(count_tracks(truths, sure))
    return VideoScores(saco_scores(units), hota_scores(counts))


def volume_iou(a: Masklet, b: Masklet) -> float:
    """IoU of two masklets over space and time, 0..1; two empty ones agree: 1."""
    shared = whole = 0
    for one, other in zip(a, b, strict=True):
        areas = [0 if rle is None else int(coco.area(rle)) for rle in (one, other)]
        both = int(coco.area(coco.merge([one, other], intersect=True))) if all(areas) else 0
        shared += both
        whole += sum(areas) - both
    return shared / whole if whole else 1.0


def count_tracks(truths: Sequence[Masklet], found: Sequence[Masklet]) -> HotaCounts:
    """HOTA's counts of one unit; every prediction weighs the same."""
    scorer = HotaScorer()
    for frame in range(len((truths or found)[0])):
        rows = [i for i, masklet in enumerate(truths) if not _empty(masklet[frame])]
        columns = [i for i, masklet in enumerate(found) if not _empty(masklet[frame])]
        ours, theirs = [found[i][frame] for i in columns], [truths[i][frame] for i in rows]
        similarity = np.zeros((len(rows), len(columns)))
        if rows and columns:
            similarity = np.asarray(coco.iou(ours, theirs, [0] * len(theirs))).T
        scorer.add_similarity(rows, columns, similarity)
    return scorer.counts()


def _empty(rle: dict[str, Any] | None) -> bool:
    return rle is None or not coco.area(rle)


def _checked(masklet: Masklet, size: tuple[int, int]) -> Masklet:
    return [None if rle is None else compress(rle, size) for rle in masklet]
