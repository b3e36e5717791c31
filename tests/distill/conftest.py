# SPDX-License-Identifier: Apache-2.0
"""A training run that takes seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from esam3_core.config import StudentConfig
from esam3_core.config_fit import SourceConfig, TeacherConfig
from esam3_core.config_stage1 import Stage1Config
from esam3_core.config_stage3 import DistillConfig
from tests.distill.teachers import write_run
from tests.drawn_data import Thing, scatter, write_real_folder, write_shard


@pytest.fixture(scope="session")
def tiny_run(tiny_config: StudentConfig, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> DistillConfig:
    """Six steps of the tiny student on a scene shard and a real folder."""
    data = tmp_path_factory.mktemp("data")
    write_shard(data / "scenes" / "train-000.tar", [scatter(seed) for seed in range(4)])
    large = [[Thing("ball", "red", 80, 60, 40)], [Thing("box", "blue", 80, 60, 40)]]
    write_real_folder(data / "real", [*large, *(scatter(seed) for seed in range(10, 16))])
    return DistillConfig(
        student=tiny_config,
        sources=(
            SourceConfig(str(data / "scenes"), "scenes", 2.0),
            SourceConfig(str(data / "real"), "real", 1.0, cut_outs=True),
        ),
        text=str(tiny_text),
        imagenet=False,
        size=64,
        pictures=2,
        prompts=3,
        paste_share=0.5,
        steps=6,
        warmup=2,
        decay=2,
        frozen_steps=2,
        frozen=("stem",),
        checkpoint_every=3600.0,
    )


@pytest.fixture(scope="session")
def tiny_sam3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a SAM 3 with random weights, as a user has one with real weights."""
    pytest.importorskip("transformers", reason="SAM 3 needs transformers: pip install '.[sam3]'")
    from tests.distill.tiny_sam3 import write_tiny_sam3

    return write_tiny_sam3(tmp_path_factory.mktemp("teachers") / "sam3")


@pytest.fixture(scope="session")
def tiny_stage1(tiny_run: DistillConfig, tmp_path_factory: pytest.TempPathFactory) -> Stage1Config:
    """Six steps of stage 1 on the same data; the teacher is a student with memory."""
    folder = write_run(tmp_path_factory.mktemp("taught") / "teacher", tiny_run.student, Path(tiny_run.text))
    return Stage1Config(
        student=tiny_run.student,
        teacher=TeacherConfig("student", str(folder)),
        sources=tiny_run.sources,
        text=tiny_run.text,
        imagenet=False,
        size=64,
        pictures=2,
        prompts=2,
        steps=6,
        warmup=2,
        decay=2,
        checkpoint_every=3600.0,
    )
