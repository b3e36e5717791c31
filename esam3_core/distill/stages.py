# SPDX-License-Identifier: Apache-2.0
"""The stages by name: what configuration each reads, and the stage itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from esam3_core.config_refiner import RefinerConfig
from esam3_core.config_stage1 import Stage1Config
from esam3_core.config_stage2 import Stage2Config
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.commands import read_run

if TYPE_CHECKING:
    from esam3_core.distill.stage import RunConfig, Stage


def open_stage(name: str, path: Path) -> tuple[RunConfig, Stage]:
    """A stage as the YAML file of its run describes it.

    Args:
        name: one of `commands.STAGES`.
    """
    if name == "stage1":
        from esam3_core.distill.stage1 import Stage1

        first = read_run(path, Stage1Config)
        return first, Stage1(first)
    if name == "stage2":
        from esam3_core.distill.stage2 import Stage2

        second = read_run(path, Stage2Config)
        return second, Stage2(second)
    if name == "refiner":
        from esam3_core.distill.refiner import RefinerStage

        last = read_run(path, RefinerConfig)
        return last, RefinerStage(last)
    from esam3_core.distill.stage3 import Stage3

    third = read_run(path, DistillConfig)
    return third, Stage3(third)
