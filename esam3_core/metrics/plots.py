# SPDX-License-Identifier: Apache-2.0
"""An evaluation as figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def draw_plots(summary: dict[str, Any], folder: Path) -> list[Path]:
    """Write calibration.png, threshold.png and concepts.png; return their paths.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    title = f"{summary['bundle']} on {summary['data']}"
    paths = []
    for name, draw in (("calibration", _calibration), ("threshold", _threshold), ("concepts", _concepts)):
        figure, axis = plt.subplots(figsize=(7, 4.5))
        draw(axis, summary)
        axis.set_title(title)
        axis.grid(alpha=0.3)
        figure.tight_layout()
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=90)
        plt.close(figure)
    return paths


def _calibration(axis: Any, summary: dict[str, Any]) -> None:
    curve = summary["calibration"]
    axis.plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    axis.plot(curve["score"], curve["share"], "o-", label=f"detections (error {100 * curve['error']:.1f} %)")
    for x, y, count in zip(curve["score"], curve["share"], curve["count"], strict=True):
        axis.annotate(str(count), (x, y), xytext=(4, -10), textcoords="offset points", fontsize=7)
    axis.set(xlabel="score", ylabel="share that shows an instance", xlim=(0, 1), ylim=(0, 1))
    axis.legend()


def _threshold(axis: Any, summary: dict[str, Any]) -> None:
    rows = summary["sweep"]
    x = [row["threshold"] for row in rows]
    labels = {"cg_f1": "cgF1", "pm_f1": "pmF1", "il_mcc": "IL_MCC", "false_positive_rate": "false positives"}
    for field, label in labels.items():
        if any(math.isfinite(row[field]) for row in rows):
            axis.plot(x, [row[field] for row in rows], label=label)
    axis.axvline(summary["score_threshold"], color="grey", linestyle=":")
    axis.set(xlabel="score threshold", xlim=(0, 1), ylim=(min(0, axis.get_ylim()[0]), 1))
    axis.legend()


def _concepts(axis: Any, summary: dict[str, Any]) -> None:
    concepts = summary["concepts"]
    known = {name: row for name, row in concepts.items() if row["instances"]}
    ordered = sorted(known, key=lambda name: known[name]["pm_f1"])
    places = range(len(ordered))
    axis.barh(places, [known[name]["pm_f1"] for name in ordered], 0.7, label="pmF1")
    axis.plot([known[name]["ap_50"] for name in ordered], places, "k|", markersize=10, label="AP@50")
    axis.set_yticks(places, [f"{name} ({known[name]['instances']})" for name in ordered], fontsize=8)
    axis.set_xlim(0, 1.02)
    axis.legend()
