# SPDX-License-Identifier: Apache-2.0
"""The curves of a run as one picture, with a line where it was killed, or beside those of another run.

    python bench/figures/run_curves.py RUN PICTURE [--killed STEP] [--beside RUN] [--terms NAME ...] [--window 10]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.distill.run_log import TIMES

Rows = list[dict[str, float]]


def main() -> None:
    """Draw the terms of a run's log over its steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--killed", type=int, help="step at which the run was killed")
    parser.add_argument("--beside", type=Path, help="folder of another run")
    parser.add_argument("--terms", nargs="+", help="what to draw (default: everything)")
    parser.add_argument("--window", type=int, default=10, help="steps that a point averages (default: 10)")
    arguments = parser.parse_args()
    runs = {folder.name: read(folder) for folder in (arguments.run, arguments.beside) if folder}
    names = arguments.terms or terms(next(iter(runs.values())))
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for label, rows in runs.items():
            draw(axis, rows, name, arguments.window, label)
        if arguments.killed:
            axis.axvline(arguments.killed, color="tab:red", linestyle=":")
        axis.set_title(name)
        axis.grid(alpha=0.3)
    if arguments.beside:
        axes[0][0].legend()
    figure.tight_layout()
    figure.savefig(arguments.picture, dpi=80)


def read(folder: Path) -> Rows:
    """The log of a run."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def terms(rows: Rows) -> list[str]:
    """Names of everything that a log tells of, in the order of its beginning."""
    return [name for name in dict.fromkeys(name for row in rows for name in row) if name not in ("step", *TIMES)]


def draw(axis: Any, rows: Rows, name: str, window: int, label: str) -> None:
    """One term, each step in grey and the mean of its neighbours in colour."""
    told = [(row["step"], row[name]) for row in rows if name in row]  # some terms begin later than others
    steps, values = np.array(told, float).T
    axis.plot(steps, values, color="0.85", linewidth=0.6, zorder=1)
    smooth = np.convolve(values, np.ones(window) / window, "valid")
    axis.plot(steps[window - 1 :], smooth, label=label)


if __name__ == "__main__":
    main()
