# SPDX-License-Identifier: Apache-2.0
"""Our metrics give the reference implementations' numbers on random cases (references.json: record_references.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from esam3_core.data.saco import SacoPairs
from esam3_core.metrics.concepts import Counts
from esam3_core.metrics.hota import HotaScorer, HotaScores, hota_scores
from esam3_core.metrics.objects import _statistics
from esam3_core.metrics.saco import judged, saco_scores
from esam3_core.metrics.video import boundary_accuracy, region_similarity
from tests.metrics.random_cases import CASES, TrackCase, gold_case, mask_pairs, track_cases

REFERENCES = json.loads(Path(__file__).with_name("references.json").read_text())
NAMES = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA")


def scorer_of(case: TrackCase) -> HotaScorer:
    scorer = HotaScorer()
    for frame in case.frames:
        scorer.add_similarity(*frame)
    return scorer


def by_name(scores: HotaScores) -> dict[str, float]:
    return dict(zip(NAMES, scores.__dict__.values(), strict=True))


@pytest.mark.parametrize("index", range(len(track_cases())))
def test_hota_is_trackevals(index: int) -> None:
    counts = scorer_of(track_cases()[index]).counts()
    assert by_name(hota_scores([counts])) == pytest.approx(REFERENCES["hota"]["cases"][index], abs=1e-12)


def test_hota_of_several_clips_is_trackevals() -> None:
    counts = [scorer_of(case).counts() for case in track_cases()]
    assert by_name(hota_scores(counts)) == pytest.approx(REFERENCES["hota"]["together"], abs=1e-12)


def test_j_and_f_are_daviss() -> None:
    j = [region_similarity(found, truth) for found, truth in mask_pairs()]
    f = [boundary_accuracy(found, truth) for found, truth in mask_pairs()]
    assert j == pytest.approx(REFERENCES["davis"]["j"], abs=1e-12)
    assert f == pytest.approx(REFERENCES["davis"]["f"], abs=1e-12)


def test_mean_recall_and_decay_are_daviss() -> None:
    pairs = mask_pairs()
    values = np.array([(region_similarity(a, b), boundary_accuracy(a, b)) for a, b in pairs])
    ours = _statistics(values)
    theirs = REFERENCES["davis"]["statistics"]
    assert [ours.j, ours.j_recall, ours.j_decay] == pytest.approx(theirs[0], abs=1e-12)
    assert [ours.f, ours.f_recall, ours.f_decay] == pytest.approx(theirs[1], abs=1e-12)


@pytest.mark.parametrize("seed", range(CASES))
def test_cgf1_is_the_official_one(seed: int, tmp_path: Path) -> None:
    """Odd seeds have three annotators: the most favourable counts."""
    files, predictions = gold_case(seed, annotators=3 if seed % 2 else 1)
    paths = [tmp_path / f"{i}.json" for i in range(len(files))]
    for path, file in zip(paths, files, strict=True):
        path.write_text(json.dumps(file))
    pairs = SacoPairs(paths, tmp_path).pairs
    units = [judged(pair, [p for p in predictions if p["image_id"] == pair.id]) for pair in pairs]
    scores, theirs = saco_scores(units), REFERENCES["cgf1"][seed]
    ours = {"cgF1": scores.cg_f1, "positive_micro_F1": scores.pm_f1, "IL_MCC": scores.il_mcc,
            "cgF1@0.5": scores.cg_f1_50, "cgF1@0.75": scores.cg_f1_75, "positive_micro_F1@0.5": scores.pm_f1_50,
            "positive_micro_F1@0.75": scores.pm_f1_75, "IL_FPR": scores.false_positive_rate}  # fmt: skip
    assert ours == pytest.approx({name: theirs[name] for name in ours}, abs=1e-6)
    counts = Counts.of(units, 0.5)
    assert float(counts.recall.mean()) == pytest.approx(theirs["recall"], abs=1e-9)
