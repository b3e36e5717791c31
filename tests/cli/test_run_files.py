# SPDX-License-Identifier: Apache-2.0
"""The YAML file of a training run: what it cannot mean gets one sentence with the file's name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from esam3_core.cli import main
from esam3_core.config import MemoryConfig, StudentConfig, TextConfig, to_dict
from esam3_core.config_fit import FitConfig, SourceConfig, TeacherConfig
from esam3_core.config_stage1 import CacheConfig, Stage1Config
from esam3_core.config_stage2 import ClipSourceConfig, Stage2Config
from esam3_core.config_stage3 import DistillConfig

STAGES = {"stage1": Stage1Config, "stage2": Stage2Config, "stage3": DistillConfig}
OF_ALL = [
    ("", "holds no names and values"),
    ("sources: 5", "sources is 5: it must be a list, such as [] or [5]"),
    ("sources: [{kind: scenes}]", "SourceConfig lacks path, which has no default: add it"),
    ("start: 5", "start is 5: it must be text, in quotes where it could be a number"),
    ("start:", "start is None: it must be text"),
    ("steps: 30.5", "steps is 30.5: it must be a whole number"),
    ("steps: yes", "steps is True: it must be a number"),
    ("steps: 0", "steps is 0: it must be at least 1"),
    ("size: -32", "size is -32: it must be a multiple of 32, such as 320"),
    ("student: {size: -32}", "in student, size is -32: it must be a multiple of 32"),
    ("student: {text: {heads: 0}}", "in student, in text, heads is 0: it must be at least 1"),
    ("sources: [{path: a, weight: 0}]", "the weight of every source is 0, so nothing is ever drawn"),
    ("sources: [{path: a, weight: -1}]", "in sources, weight is -1: it must be at least 0"),
    ("fit: {checkpointing: 1}", "in fit, checkpointing is 1: it must be true or false"),
    ("rate: .nan", "rate is nan: it must be above 0"),
    ("5: 6", "has no 5; it has student"),
]
OF_ONE = [
    ("stage1", "pictures: 0", "pictures is 0: it must be at least 1"),
    ("stage1", "cache: {levels: p16}", "in cache, levels is 'p16': it must be a list, such as [] or ['p16']"),
    ("stage2", "tracks: -1", "tracks is -1: it must be at least 1"),
    ("stage3", "pictures: 0", "pictures is 0: it must be at least 1"),
    ("stage3", "prompts: 0", "prompts is 0: it must be at least 1"),
    ("stage3", "text: 5", "text is 5: it must be text"),
]


@pytest.mark.parametrize(
    ("stage", "text", "reason"), [*((stage, *one) for stage in STAGES for one in OF_ALL), *OF_ONE]
)
def test_what_a_run_cannot_mean_is_one_sentence(
    stage: str, text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    assert main(["distill", stage, str(tmp_path / "run.yaml"), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"esam3: {tmp_path}/run.yaml") and said.count("\n") == 1
    assert reason in said


NUMBERS = [
    (kind, field.name)
    for kind in (*STAGES.values(), StudentConfig, TextConfig, MemoryConfig, FitConfig, TeacherConfig, CacheConfig)
    for field in dataclasses.fields(kind)
    if field.type in ("int", "float")
]


@pytest.mark.parametrize(("kind", "name"), NUMBERS, ids=lambda value: getattr(value, "__name__", value))
def test_no_number_of_a_run_may_be_negative(kind: type, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}\b.*-32\b"):
        kind(**{name: -32})


@pytest.mark.parametrize(
    ("kind", "name"), [(SourceConfig, "weight"), (ClipSourceConfig, "clips"), (ClipSourceConfig, "frames")]
)
def test_nor_of_a_data_set(kind: type, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is -1: it must be at least 0"):
        kind("data", **{name: -1})


def test_a_whole_number_may_be_written_as_a_fraction(tmp_path: Path) -> None:
    from esam3_core.distill.commands import read_config

    (tmp_path / "run.yaml").write_text("steps: 30.0\nclip: .inf\n")
    config = read_config(tmp_path / "run.yaml")
    assert config.steps == 30 and isinstance(config.steps, int)
    assert config.clip == float("inf")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Folders of runs, one of each stage; nothing but the configuration is looked at."""
    for stage, kind in STAGES.items():
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "config.yaml").write_text(yaml.safe_dump(to_dict(kind())))
        (tmp_path / stage / "last.pt").touch()
    return tmp_path


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_run_of_another_stage_is_no_bundle(stage: str, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(runs / stage), "--out", str(runs / "bundle")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"esam3: {runs / stage} is a run of stage {stage[-1]}: export a run of stage 3, with ")


@pytest.mark.parametrize("stage", ["stage1", "stage3"])
def test_a_memory_comes_from_stage_2(stage: str, runs: Path) -> None:
    from esam3_core.distill.release import check_stage

    check_stage(runs / "stage2", "stage 2")
    with pytest.raises(ValueError, match=rf"{stage} is a run of stage {stage[-1]}: .* --memory and one of stage 2"):
        check_stage(runs / stage, "stage 2")
