# SPDX-License-Identifier: Apache-2.0
"""A student that takes over its teacher's heads: `start` of stage 1 is the teacher."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from esam3_core.config_stage1 import Stage1Config
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.fit import Fit
from esam3_core.distill.stage1 import Stage1
from esam3_core.distill.stage3 import Stage3, start_from
from esam3_core.distill.teacher import TeacherError
from esam3_core.distill.teacher_student import StudentTeacher


@pytest.fixture()
def config(tiny_stage1: Stage1Config) -> Stage1Config:
    torch.set_num_threads(1)
    return dataclasses.replace(tiny_stage1, start=tiny_stage1.teacher.path, prompt_weight=0.0)


def test_everything_but_the_trunk_and_what_reads_its_maps_is_the_teachers(config: Stage1Config) -> None:
    stage = Stage1(config)
    assert isinstance(stage.teacher, StudentTeacher)
    theirs = stage.teacher.student.state_dict()
    new = set()
    for name, value in stage.student.state_dict().items():
        if name.startswith(("image_encoder.trunk.", "image_encoder.neck.lateral")):
            new.add(name.split(".")[1])
        else:
            assert torch.equal(value, theirs[name]), name
    assert new == {"trunk", "neck"}


def test_a_student_that_sees_what_the_teacher_sees_has_nothing_to_learn(config: Stage1Config) -> None:
    """No adapter stands between the two, so the heads work on the student's own features."""
    stage = Stage1(config)
    start_from(stage.student, Path(config.teacher.path))
    stage.student.eval()
    terms = stage.loss(stage.batches(0).batch(0))[1]
    assert terms["mse"] == pytest.approx(0, abs=1e-6) and terms["cosine"] == pytest.approx(0, abs=1e-5)


def test_a_run_with_the_teachers_heads_goes_on_and_starts_another(config: Stage1Config, tmp_path: Path) -> None:
    Fit(dataclasses.replace(config, steps=2), tmp_path / "run", Stage1(config)).run()
    fit = Fit(dataclasses.replace(config, steps=3), tmp_path / "run", Stage1(config))
    assert fit.step == 2
    fit.run()
    other = Stage1(dataclasses.replace(config, start=str(tmp_path / "run")))
    assert not other.has_heads and list(other.helpers["adapters"].parameters())
    kept = fit.stage.student.state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in other.student.state_dict().items())


def test_heads_of_other_sizes_are_refused(config: Stage1Config) -> None:
    more = dataclasses.replace(config.student, queries=config.student.queries, ffn=2 * config.student.ffn)
    with pytest.raises(TeacherError, match="use its student section, with another variant only"):
        Stage1(dataclasses.replace(config, student=more))


def test_only_our_own_students_give_their_heads(config: Stage1Config, tiny_sam3: Path) -> None:
    sam3 = dataclasses.replace(config.teacher, kind="sam3", path=str(tiny_sam3))
    with pytest.raises(TeacherError, match="only a teacher of kind student gives its heads"):
        Stage1(dataclasses.replace(config, teacher=sam3, start=str(tiny_sam3)))


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_stage_3_can_begin_with_the_heads_of_its_teacher(
    config: Stage1Config, tiny_run: DistillConfig, weight: float
) -> None:
    """With weight 0 the teacher gives its heads and says nothing more."""
    stage = Stage3(dataclasses.replace(tiny_run, teacher=config.teacher, start=config.start, teacher_weight=weight))
    theirs = Stage1(config).teacher.student.state_dict()  # type: ignore[attr-defined]
    own = stage.student.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own if name.startswith("detector."))
    assert not stage.knows_statistics
    terms = stage.loss(stage.batches(0).batch(0))[1]
    assert ("taught_features" in terms) == bool(weight)
    assert not list(stage.helpers.parameters())
