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
TIE = 0.1  # logit; which of two queries that differ by less is kept is chance
SCORES = ("logits", "presence", "iou", "objectness")  # outputs whose numbers say little more near 0 than at 0


def agreement(reference: Outputs, candidate: Outputs) -> dict[str, float]:
    """Closeness per output, 1 where they are the same.

    A detector gives its queries in the order of scores that may be equal up to rounding, so its outputs are compared
    query by query after each query has been paired with its nearest; queries that count are compared, the others
    have no place of their own. Where none counts, the best of the concept is compared. `kept` is the share of the
    compared queries kept by the reference that the candidate keeps too; one that is hardly better than the best that
    the reference does not keep may be missing.
    """
    if {"boxes", "logits", "kept", "masks"} <= set(reference):
        return _detector_agreement(reference, candidate)
    return {name: _close(name, reference[name], candidate[name]) for name in reference}


def closeness(reference: NDArray[Any], candidate: NDArray[Any], least: float = 0.0) -> float:
    """How near two arrays are, taken as vectors: 1 if they are the same, -1 if they are opposite, 0 if either has a
    number that is none, or another shape.

    2 a.b / (|a|^2 + |b|^2), which is the cosine where both are equally long. A cosine alone would not see that one is
    twice the other, and of a single number it sees the sign only.

    Args:
        least: what the numbers count as at least where difference and size are compared; for numbers whose sign means
            nothing near 0.
    """
    if reference.shape != candidate.shape or not (_finite(reference) and _finite(candidate)):
        return 0.0
    a, b = reference.astype(np.float64).ravel(), candidate.astype(np.float64).ravel()
    size = max(float(a @ a + b @ b), 2 * a.size * least**2)
    return 1.0 - float((a - b) @ (a - b)) / size if size else 1.0


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
            found_too = partner[query] in theirs["mask_of"]
            if query not in ours["mask_of"] or (not found_too and ours["logits"][query] - ours["best_left"] < TIE):
                continue
            counting += 1
            if found_too:
                kept_by_both += 1
                pairs["masks"][0].append(ours["mask_of"][query].ravel())
                pairs["masks"][1].append(theirs["mask_of"][partner[query]].ravel())
    found = {name: _close(name, *(np.concatenate(side) for side in sides)) if sides[0] else 1.0
             for name, sides in pairs.items()}  # fmt: skip
    found["presence"] = _close("presence", reference["presence"], candidate["presence"])
    found["kept"] = kept_by_both / counting if counting else 1.0
    # Queries that do not count are not compared; a number that is none condemns the graph even there.
    return {name: found[name] if _finite(reference[name]) and _finite(candidate[name]) else 0.0 for name in reference}


def _queries(outputs: Outputs, concept: int) -> dict[str, Any]:
    logits = outputs["logits"][concept].astype(np.float64)
    presence = float(outputs["presence"][concept])
    left = np.delete(logits, outputs["kept"][concept].astype(int))
    return {
        "boxes": outputs["boxes"][concept],
        "logits": logits,
        "best_left": left.max(initial=-np.inf),
        "scores": _sigmoid(logits) * _sigmoid(np.float64(presence)),
        "mask_of": {int(q): outputs["masks"][concept, k] for k, q in enumerate(outputs["kept"][concept])},
    }


def _partners(ours: NDArray[Any], theirs: NDArray[Any]) -> dict[int, int]:
    distances = np.abs(ours[:, None].astype(np.float64) - theirs[None].astype(np.float64)).sum(-1)  # [Q, Q]
    distances = np.nan_to_num(distances, nan=1e6, posinf=1e6)
    rows, columns = linear_sum_assignment(distances)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True))


def _close(name: str, reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    return closeness(reference, candidate, 1.0 if name in SCORES else 0.0)


def _finite(values: NDArray[Any]) -> bool:
    return bool(np.isfinite(values.astype(np.float64)).all())


def _sigmoid(values: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-np.clip(values, -50.0, 50.0)))
