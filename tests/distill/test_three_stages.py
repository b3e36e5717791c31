# SPDX-License-Identifier: Apache-2.0
"""A SAM 3 with random weights teaches through cache and all three stages, by the commands a user gives. With real
weights only `teacher.path` is another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
import yaml

from esam3_core.cli import main
from esam3_core.config import StudentConfig, TextConfig, to_dict
from esam3_core.config_fit import TeacherConfig
from esam3_core.config_stage1 import CacheConfig, Stage1Config
from esam3_core.config_stage2 import ClipSourceConfig, Stage2Config
from esam3_core.config_stage3 import DistillConfig
from tests.distill.teachers import MEMORY

LEVELS = ("p16", "p8", "p4", "t16", "t8", "t4", "trunk")


def run(verb: list[str], config: Stage1Config | Stage2Config | DistillConfig, folder: Path) -> list[dict[str, float]]:
    """Give a command with a configuration; returns the run's log."""
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(config)))))
    out = ["--out", str(folder)] if verb[0] == "distill" else []
    assert main([*verb, str(path), *out, "--threads", "1"]) == 0
    log = folder / "log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="module")
def student(tiny_config: StudentConfig) -> StudentConfig:
    """Its text encoder reads CLIP's tokens, as SAM 3's."""
    text = TextConfig(kind="clip", vocab_size=49408, context=32, width=16, layers=1, heads=2, ffn=16)
    return dataclasses.replace(tiny_config, text=text, memory=MEMORY)


@pytest.fixture(scope="module")
def stage1(
    home: Path, student: StudentConfig, tiny_stage1: Stage1Config, tiny_sam3: Path
) -> tuple[Path, list[dict[str, float]]]:
    """The cache is filled and the first stage is done."""
    config = dataclasses.replace(
        tiny_stage1,
        student=student,
        teacher=TeacherConfig("sam3", str(tiny_sam3)),
        text="",
        text_weight=1.0,
        texts=4,
        steps=3,
        cache=CacheConfig(folder=str(home / "cache"), levels=LEVELS, prompts=2, shard=4),
    )
    run(["cache"], config, home / "cached")
    return home / "stage1", run(["distill", "stage1"], config, home / "stage1")


@pytest.fixture(scope="module")
def stage2(
    home: Path, student: StudentConfig, stage1: tuple[Path, object], tiny_run: DistillConfig, tiny_sam3: Path
) -> tuple[Path, list[dict[str, float]]]:
    """The second stage on the encoder of the first."""
    real = next(source.path for source in tiny_run.sources if source.kind == "real")
    config = Stage2Config(
        student=student, start=str(stage1[0]), cache=str(home / "clips"),
        sources=(ClipSourceConfig(real, "stills", clips=3, frames=4),),
        teacher=TeacherConfig("sam3", str(tiny_sam3)),
        size=64, tracks=2, objects=2, frames=3, frames_last=4, steps=2, warmup=1, decay=1,
    )  # fmt: skip
    return home / "stage2", run(["distill", "stage2"], config, home / "stage2")


@pytest.fixture(scope="module")
def stage3(
    home: Path, student: StudentConfig, stage1: tuple[Path, object], stage2: tuple[Path, object],
    tiny_run: DistillConfig, tiny_sam3: Path,
) -> tuple[Path, list[dict[str, float]]]:  # fmt: skip
    """The third stage on what the others have taught."""
    config = dataclasses.replace(
        tiny_run, student=student, text=str(stage1[0] / "text"), start=str(stage2[0]), steps=2, shown_share=0.3,
        teacher=TeacherConfig("sam3", str(tiny_sam3)),
    )  # fmt: skip
    return home / "stage3", run(["distill", "stage3"], config, home / "stage3")


def test_stage_1_learns_features_prompts_concepts_and_text(stage1: tuple[Path, list[dict[str, float]]]) -> None:
    folder, log = stage1
    assert len(log) == 3
    assert {"mse", "cosine", "prompt", "concept", "text_mse", "text_cosine"} <= set(log[0])
    assert all(value > 0 for row in log for name, value in row.items() if name not in ("wait",))
    assert (folder / "samples.png").is_file() and (folder / "text" / "tokenizer.json").is_file()


def test_stage_2_learns_what_the_tracker_says(stage2: tuple[Path, list[dict[str, float]]]) -> None:
    assert [row["taught"] > 0 for row in stage2[1]] == [True, True]


def test_stage_3_learns_what_the_detector_says(stage3: tuple[Path, list[dict[str, float]]]) -> None:
    assert all(row[name] > 0 for row in stage3[1] for name in ("taught_presence", "taught_match", "taught_features"))


def test_every_stage_goes_on_from_the_last(
    stage1: tuple[Path, object], stage2: tuple[Path, object], stage3: tuple[Path, object]
) -> None:
    """What a stage does not train comes out of it as it went in."""
    one, two, three = (
        torch.load(folder / "last.pt", weights_only=True)["average"] for folder, _ in (stage1, stage2, stage3)
    )
    same = [name for name in two if name.startswith(("image_encoder.", "text_encoder."))]
    assert same and all(torch.equal(one[name], two[name]) for name in same)
    memory = [name for name in three if name.startswith("memory.")]
    assert memory and all(torch.equal(two[name], three[name]) for name in memory)
    assert any(not torch.equal(two[name], three[name]) for name in three if name.startswith("detector."))
