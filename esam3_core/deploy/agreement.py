# SPDX-License-Identifier: Apache-2.0
"""How far two runs of the same graph, or of the same tracker, agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.track import Track

Outputs = Mapping[str, NDArray[Any]]
COUNTS = 0.2  # score; a query below it shows nothing, and which of many equally weak proposals it took is chance


def agreement(reference: Outputs, candidate: Outputs) -> dict[str, float]:
    """Cosine per output, 1 where they are the same up to a factor.

    A detector gives its queries in the order of scores that may be equal up to rounding, so its outputs are compared
    query by query after each query has been paired with its nearest; queries that count are compared, the others
    have no place of their own. Where none counts, the best of the concept is compared. `kept` is the share of the
    compared queries kept by the reference that the candidate keeps too.
    """
    if {"boxes", "logits", "kept", "masks"} <= set(reference):
        return _detector_agreement(reference, candidate)
    return {name: cosine(reference[name], candidate[name]) for name in reference}


def cosine(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Cosine of two arrays taken as vectors; 1 if both are zero, 0 if one has a number that is none."""
    if reference.shape != candidate.shape or not np.isfinite(candidate.astype(np.float64)).all():
        return 0.0
    a, b = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norms == 0.0:
        return 1.0 if float(np.abs(a - b).max(initial=0.0)) == 0.0 else 0.0
    return float(a @ b / norms)


def track_ious(reference: Sequence[Track], candidate: Sequence[Track]) -> list[float]:
    """IoU of the masks of one frame, each paired with its best of the same concept; a mask without a partner counts
    as 0. Empty if neither shows anything."""
    ious: list[float] = []
    shown = [[track for track in tracks if track.crop.area] for tracks in (reference, candidate)]
    for concept in sorted({track.concept for tracks in shown for track in tracks}):
        ours, theirs = ([track.crop for track in tracks if track.concept == concept] for tracks in shown)
        overlaps = np.asarray(iou_matrix(ours, theirs)) if ours and theirs else np.zeros((len(ours), len(theirs)))
        rows, columns = linear_sum_assignment(-overlaps)
        paired = [float(overlaps[row, column]) for row, column in zip(rows, columns, strict=True)]
        ious += paired + [0.0] * (max(len(ours), len(theirs)) - len(paired))
    return ious


def _detector_agreement(reference: Outputs, candidate: Outputs) -> dict[str, float]:
    if any(reference[name].shape != candidate[name].shape for name in reference):
        return dict.fromkeys(reference, 0.0)
    pairs: dict[str, tuple[list[Any], list[Any]]] = {name: ([], []) for name in ("boxes", "logits", "masks")}
    counting = kept_by_both = 0
    for concept in range(len(reference["presence"])):
        ours, theirs = _queries(reference, concept), _queries(candidate, concept)
        partner = _partners(ours["boxes"], theirs["boxes"])
        for query in np.flatnonzero(ours["scores"] >= min(COUNTS, ours["scores"].max())).tolist():
            for name in ("boxes", "logits"):
                pairs[name][0].append(ours[name][query].ravel())
                pairs[name][1].append(theirs[name][partner[query]].ravel())
            if query not in ours["mask_of"]:
                continue
            counting += 1
            if partner[query] in theirs["mask_of"]:
                kept_by_both += 1
                pairs["masks"][0].append(ours["mask_of"][query].ravel())
                pairs["masks"][1].append(theirs["mask_of"][partner[query]].ravel())
    found = {name: cosine(*(np.concatenate(side) for side in sides)) if sides[0] else 1.0
             for name, sides in pairs.items()}  # fmt: skip
    found["presence"] = cosine(reference["presence"], candidate["presence"])
    found["kept"] = kept_by_both / counting if counting else 1.0
    return {name: found[name] for name in reference}


def _queries(outputs: Outputs, concept: int) -> dict[str, Any]:
    logits = outputs["logits"][concept].astype(np.float64)
    presence = float(outputs["presence"][concept])
    return {
        "boxes": outputs["boxes"][concept],
        "logits": logits,
        "scores": _sigmoid(logits) * _sigmoid(np.float64(presence)),
        "mask_of": {int(q): outputs["masks"][concept, k] for k, q in enumerate(outputs["kept"][concept])},
    }


def _partners(ours: NDArray[Any], theirs: NDArray[Any]) -> dict[int, int]:
    distances = np.abs(ours[:, None].astype(np.float64) - theirs[None].astype(np.float64)).sum(-1)  # [Q, Q]
    distances = np.nan_to_num(distances, nan=1e6, posinf=1e6)
    rows, columns = linear_sum_assignment(distances)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))


def _sigmoid(values: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -50.0, 50.0)))
