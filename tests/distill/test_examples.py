# SPDX-License-Identifier: Apache-2.0
"""The example configurations can be read, and the commands of docs/distill.md can be given."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from esam3_core.cli import build_parser
from esam3_core.config_stage1 import Stage1Config
from esam3_core.config_stage2 import Stage2Config
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.commands import read_run

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = [
    line.split("#")[0].strip()
    for line in (ROOT / "docs/distill.md").read_text().splitlines()
    if line.startswith("    esam3 ")
]


@pytest.mark.parametrize("path", sorted((ROOT / "config/distill").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_can_be_read(path: Path) -> None:
    sees = path.stem == "stage1" or path.stem.endswith("_see")
    follows = path.stem == "stage2" or path.stem.startswith("memory") or path.stem.endswith("_follow")
    kind = Stage2Config if follows else Stage1Config if sees else DistillConfig
    config = read_run(path, kind)
    assert config.sources and config.steps > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_can_be_given(command: str) -> None:
    parsed = build_parser().parse_args(shlex.split(command)[1:])
    assert callable(parsed.run)
    for name in re.findall(r"config/\S+", command):
        assert (ROOT / name).is_file()


def test_the_docs_have_commands() -> None:
    assert {command.split()[1] for command in COMMANDS} == {"cache", "distill", "export", "eval"}
