# SPDX-License-Identifier: Apache-2.0
"""Curves of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

WINDOW = 50  # steps each point of a curve averages


def draw_curves(log: Path, picture: Path) -> None:
    """Draw every term of a run's log over its steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if len(rows) < 2:
        return
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "step"]
    figure, axes = plt.subplots(3, (len(names) + 2) // 3, figsize=(15, 8), squeeze=False)
    for axis, name in zip(axes.flat, names, strict=False):
        told = [(row["step"], row[name]) for row in rows if name in row]  # some terms begin later than others
        steps, values = np.array(told, float).T
        window = min(WINDOW, len(values))
        smooth = np.convolve(values, np.ones(window) / window, "valid")
        axis.plot(steps[window - 1 :], smooth)
        axis.set_title(name)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=70)
    plt.close(figure)
