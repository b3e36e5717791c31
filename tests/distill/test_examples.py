# SPDX-License-Identifier: Apache-2.0
"""The example configurations can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from esam3_core.config_refiner import RefinerConfig
from esam3_core.config_stage1 import Stage1Config
from esam3_core.config_stage2 import Stage2Config
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.commands import read_run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "config/distill").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_can_be_read(path: Path) -> None:
    sees = path.stem == "stage1" or path.stem.endswith("_see")
    follows = path.stem == "stage2" or path.stem.startswith("memory") or path.stem.endswith("_follow")
    kind = Stage2Config if follows else Stage1Config if sees else DistillConfig
    kind = RefinerConfig if path.stem.startswith("refiner") else kind
    config = read_run(path, kind)
    assert config.sources and config.steps > 0  # type: ignore[attr-defined]
