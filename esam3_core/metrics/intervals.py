# SPDX-License-Identifier: Apache-2.0
"""How far a score would move on other pictures of the same kind (bootstrap over pictures)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from esam3_core.metrics.concepts import Counts
from esam3_core.metrics.pairs import Pair

SHARE = 95.0  # per cent of the resampled sets that lie inside


def intervals(pairs: Sequence[Pair], threshold: float, draws: int = 1000) -> dict[str, tuple[float, float]]:
    """Lower and upper end of cgF1, pmF1, IL_MCC and the false-positive rate over resampled sets of pictures.

    Pictures, not pairs, are drawn: the answers about one picture depend on each other. nan where nothing is known.
    """
    pictures: dict[str, list[Pair]] = {}
    for pair in pairs:
        pictures.setdefault(pair.key, []).append(pair)
    parts = [Counts.of(group, threshold) for group in pictures.values()]
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), draws)  # [draws, pictures]
    sets = _totals(parts, times)
    values = {
        "cg_f1": [float(np.mean(one.cg_f1)) for one in sets],
        "pm_f1": [float(np.mean(one.pm_f1)) for one in sets],
        "il_mcc": [one.il_mcc for one in sets],
        "false_positive_rate": [one.false_positive_rate for one in sets],
    }
    return {name: _ends(np.array(column)) for name, column in values.items()}


def _totals(parts: Sequence[Counts], times: np.ndarray) -> list[Counts]:
    """The counts of sets that hold each picture as often as their row of `times` [draws, pictures] says."""
    names = [field.name for field in dataclasses.fields(Counts)]
    sums = {name: times @ np.array([getattr(part, name) for part in parts]) for name in names}
    return [Counts(**{name: sums[name][draw] for name in names}) for draw in range(len(times))]


def _ends(values: np.ndarray) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan"), float("nan")
    low, high = np.percentile(known, [50 - SHARE / 2, 50 + SHARE / 2])
    return float(low), float(high)
