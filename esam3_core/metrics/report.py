# SPDX-License-Identifier: Apache-2.0
"""An evaluation as numbers: one dictionary for JSON, one Markdown text for people."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.metrics.calibration import affine_calibration, outcomes, reliability
from esam3_core.metrics.concepts import best_threshold, score, sweep
from esam3_core.metrics.intervals import intervals
from esam3_core.metrics.pairs import KINDS, NOUN, Pair, by_phrase, of_kind

THRESHOLDS = [round(float(t), 2) for t in np.arange(0.05, 0.96, 0.025)]

COLUMNS = {
    "cgF1": "cg_f1",
    "pmF1": "pm_f1",
    "IL_MCC": "il_mcc",
    "cgF1@50": "cg_f1_50",
    "AP": "ap",
    "AP@50": "ap_50",
    "precision@50": "precision_50",
    "recall@50": "recall_50",
    "matched IoU": "matched_iou",
    "all IoU": "truth_iou",
    "false +": "false_positive_rate",
}
"""Heading -> field of ConceptScores; every one is printed times 100."""


def summarise(pairs: Sequence[Pair], threshold: float, **about: Any) -> dict[str, Any]:
    """Everything an evaluation says, ready for JSON.

    Args:
        threshold: score from which a detection counts.
        about: what was measured on what; goes in first.
    """
    scores, hits = outcomes(pairs)
    platt = affine_calibration(scores, hits)
    rows = sweep(pairs, THRESHOLDS)
    return {
        **about,
        "score_threshold": threshold,
        "pictures": len({pair.key for pair in pairs}),
        "overall": dataclasses.asdict(score(pairs, threshold)),
        "intervals": {name: list(ends) for name, ends in intervals(pairs, threshold).items()},
        "kinds": _scores({kind: of_kind(pairs, kind) for kind in KINDS}, threshold),
        "concepts": _scores(by_phrase(of_kind(pairs, NOUN)), threshold),
        "calibration": {
            **dataclasses.asdict(reliability(scores, hits)),
            "logit_scale": platt[0] if platt else math.nan,
            "logit_shift": platt[1] if platt else math.nan,
        },
        "best_threshold": best_threshold(rows),
        "sweep": rows,
    }


def _scores(groups: dict[str, list[Pair]], threshold: float) -> dict[str, dict[str, Any]]:
    return {name: dataclasses.asdict(score(pairs, threshold)) for name, pairs in groups.items() if pairs}


def write_json(summary: dict[str, Any], path: Path) -> None:
    """Write a summary; what is not known is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(summary), indent=1) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value


def to_markdown(summary: dict[str, Any]) -> str:
    """Tables over all pairs, by kind of phrase and by concept; numbers in per cent."""
    groups = {"**all**": summary["overall"], **summary["kinds"]}
    lines = [
        f"{summary['bundle']} on {summary['data']}: {summary['pictures']} pictures, "
        f"score threshold {summary['score_threshold']:.2f}",
        "",
        *_table("phrases", groups),
        "",
        *_table("concept", summary["concepts"]),
        "",
        *_advice(summary),
    ]
    return "\n".join(lines) + "\n"


def _table(first: str, rows: dict[str, dict[str, Any]]) -> list[str]:
    head = [first, "pairs +", "pairs -", *COLUMNS]
    body = [
        [name, row["positives"], row["negatives"], *(_percent(row[field]) for field in COLUMNS.values())]
        for name, row in rows.items()
    ]
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (head, ruler, *body)]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else "-"


def _advice(summary: dict[str, Any]) -> list[str]:
    calibration, best = summary["calibration"], summary["best_threshold"]
    spread = {name: f"{_percent(low)} to {_percent(high)}" for name, (low, high) in summary["intervals"].items()}
    lines = [
        f"95 % of resampled picture sets: cgF1 {spread['cg_f1']}, pmF1 {spread['pm_f1']}, IL_MCC {spread['il_mcc']}, "
        f"false positives {spread['false_positive_rate']}.",
        f"Expected calibration error of the detections: {_percent(calibration['error'])} %.",
    ]
    if best:
        lines.append(
            f"Best score threshold: {best['threshold']:.3f} (cgF1 {_percent(best['cg_f1'])}, pmF1 "
            f"{_percent(best['pm_f1'])}, false positives {_percent(best['false_positive_rate'])} %)."
        )
    if math.isfinite(calibration["logit_scale"]):
        lines.append(
            f"Calibrated score: sigmoid({calibration['logit_scale']:.3f} x logit(score) "
            f"{calibration['logit_shift']:+.3f}); it is not applied."
        )
    return lines
