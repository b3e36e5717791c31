# SPDX-License-Identifier: Apache-2.0
"""The teacher's terms of stage 3."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from esam3_core.config import StudentConfig
from esam3_core.config_fit import TeacherConfig
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.fit import Fit
from esam3_core.distill.stage3 import Stage3
from esam3_core.distill.taught import match_term
from esam3_core.distill.teacher import Concepts
from tests.distill.teachers import write_run

TERMS = {"taught_presence", "taught_match", "taught_features"}


@pytest.fixture()
def config(tiny_run: DistillConfig, tmp_path: Path) -> DistillConfig:
    """Stage 3 with a student as its teacher."""
    torch.set_num_threads(1)
    folder = write_run(tmp_path / "teacher", tiny_run.student, Path(tiny_run.text), memory=False)
    return dataclasses.replace(tiny_run, frozen_steps=0, teacher=TeacherConfig("student", str(folder)))


def told(semantic: torch.Tensor, presence: float = 20.0) -> Concepts:
    none = torch.zeros(len(semantic), 1)
    return Concepts(none[..., None].expand(-1, -1, 4), none, none[:, 0] + presence, none[..., None, None], semantic)


def test_a_teacher_adds_its_terms_by_their_weight(config: DistillConfig, tiny_run: DistillConfig) -> None:
    alone = Stage3(tiny_run)
    batch = alone.batches(0).batch(0)
    total, terms = alone.loss(batch)
    for weight in (0.5, 2.0):
        taught_total, taught = Stage3(dataclasses.replace(config, teacher_weight=weight)).loss(batch)
        assert set(taught) - set(terms) == TERMS and min(taught[name] for name in TERMS) > 0
        added = weight * sum(taught[name] for name in TERMS)
        assert float(taught_total.detach()) == pytest.approx(float(total.detach()) + added, rel=1e-4)


def test_steps_bring_the_student_nearer_to_its_teacher(config: DistillConfig, tmp_path: Path) -> None:
    fit = Fit(dataclasses.replace(config, rate=2e-3, warmup=0, steps=100), tmp_path / "run")
    batch = fit.stage.batches(0).batch(0)
    steps = [fit.train_step(batch) for _ in range(10)]
    assert steps[-1]["taught_features"] < 0.95 * steps[0]["taught_features"]
    fit.save()
    assert any(name.startswith("convolutions") for name in torch.load(tmp_path / "run" / "last.pt")["helpers"])


def test_the_place_of_a_concept_is_learnt_and_a_concept_that_is_not_there_is_nowhere() -> None:
    semantic = torch.full((1, 8, 8), -9.0)
    semantic[:, :4, :4] = 9.0
    right, wrong = torch.full((1, 4, 4), -6.0), torch.full((1, 4, 4), -6.0)
    right[:, :2, :2], wrong[:, 2:, 2:] = 6.0, 6.0
    cost = [float(match_term(m.flatten(1), told(semantic), (4, 4))) for m in (right, wrong)]
    assert cost[0] < 0.01 * cost[1]
    nowhere = float(match_term(torch.full((1, 16), -6.0), told(semantic, presence=-20.0), (4, 4)))
    assert nowhere < 0.01 * float(match_term(right.flatten(1), told(semantic, presence=-20.0), (4, 4)))


def test_a_run_goes_on_with_its_teacher(config: DistillConfig, tmp_path: Path, tiny_config: StudentConfig) -> None:
    Fit(dataclasses.replace(config, steps=2), tmp_path / "run").run()
    again = Fit(dataclasses.replace(config, steps=3), tmp_path / "run")
    assert again.step == 2 and again.stage.student.config == tiny_config
    again.run()
    assert again.step == 3
