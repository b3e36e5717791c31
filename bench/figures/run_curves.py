# SPDX-License-Identifier: Apache-2.0
"""The curves of a run as one picture, with a line where it was killed.

    python bench/figures/run_curves.py RUN PICTURE [--killed STEP] [--window 10]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from esam3_core.distill.run_log import TIMES


def main() -> None:
    """Draw every term of a run's log over its steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--killed", type=int, help="step at which the run was killed")
    parser.add_argument("--window", type=int, default=10, help="steps that a point averages (default: 10)")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in (arguments.run / "log.jsonl").read_text().splitlines()]
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in ("step", *TIMES)]
    figure, axes = plt.subplots(1, len(names), figsize=(3.2 * len(names), 2.6), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        told = [(row["step"], row[name]) for row in rows if name in row]  # some terms begin later than others
        steps, values = np.array(told, float).T
        axis.plot(steps, values, color="0.8", linewidth=0.8)
        smooth = np.convolve(values, np.ones(arguments.window) / arguments.window, "valid")
        axis.plot(steps[arguments.window - 1 :], smooth)
        if arguments.killed:
            axis.axvline(arguments.killed, color="tab:red", linestyle=":")
        axis.set_title(name)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(arguments.picture, dpi=80)


if __name__ == "__main__":
    main()
