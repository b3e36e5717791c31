# SPDX-License-Identifier: Apache-2.0
"""What every process of a run on several processes does: a run for each strategy, each stopped once and gone on with.

    torchrun --nproc_per_node 2 tests/distill/fit_strategies.py CONFIG FOLDER STRATEGY...
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from esam3_core.config_fit import FitConfig
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.commands import read_config
from esam3_core.distill.fit import Fit


def fit(config: DistillConfig, folder: Path) -> None:
    """Train for two steps, and for a third one in a second run."""
    first = Fit(dataclasses.replace(config, steps=2), folder, workers=0)
    first.run()
    Fit(dataclasses.replace(config, steps=3), folder, fabric=first.fabric, workers=0).run()


if __name__ == "__main__":
    torch.set_num_threads(1)
    wanted = read_config(Path(sys.argv[1]))
    for name in sys.argv[3:]:
        fit(dataclasses.replace(wanted, fit=FitConfig(strategy=name)), Path(sys.argv[2]) / name)
