# SPDX-License-Identifier: Apache-2.0
"""A bundle is all that is needed to train it further: weights, text encoder and tokenizer are in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from esam3_core.config import StudentConfig
from esam3_core.config_stage1 import Stage1Config
from esam3_core.config_stage3 import DistillConfig
from esam3_core.deploy.export import export_bundle, prepare
from esam3_core.deploy.weights import UNUSED, graph_weights, load_text_weights
from esam3_core.distill.fit import Fit
from esam3_core.distill.release import load_run, release, with_memory
from esam3_core.distill.stage1 import Stage1
from esam3_core.distill.stage3 import Stage3
from esam3_core.nn.student import Student
from tests.distill.teachers import MEMORY


@pytest.fixture()
def run(tiny_run: DistillConfig, tiny_bundle: Path) -> DistillConfig:
    """A run that names the bundle and nothing else."""
    torch.set_num_threads(1)
    return dataclasses.replace(tiny_run, start=str(tiny_bundle), text=str(tiny_bundle), steps=2, decay=1, warmup=1)


def test_a_run_begins_with_the_bundles_own_text_encoder(run: DistillConfig, tiny_bundle: Path) -> None:
    own = Stage3(run).student.state_dict()
    for name, value in graph_weights(tiny_bundle, "text_encoder").items():
        assert torch.equal(own[name], value), name


def test_stage_1_too_takes_its_text_encoder_from_a_bundle(tiny_stage1: Stage1Config, tiny_bundle: Path) -> None:
    own = Stage1(dataclasses.replace(tiny_stage1, text=str(tiny_bundle))).student.state_dict()
    assert all(torch.equal(own[name], value) for name, value in graph_weights(tiny_bundle, "text_encoder").items())


def test_a_run_trains_from_a_bundle_alone(run: DistillConfig, tmp_path: Path) -> None:
    fit = Fit(run, tmp_path / "run", Stage3(run))
    before = {name: value.clone() for name, value in fit.stage.student.state_dict().items()}
    fit.run()
    after = fit.stage.student.state_dict()
    assert any(not torch.equal(after[name], before[name]) for name in after if name.startswith("detector."))


def test_where_the_encoder_stays_as_it_is_the_bundles_memory_still_fits(
    run: DistillConfig, tiny_config: StudentConfig, tiny_text: Path, tmp_path: Path
) -> None:
    student = Student(dataclasses.replace(tiny_config, memory=dataclasses.replace(MEMORY, latents_global=3))).eval()
    bundle = export_bundle(student, tiny_text / "tokenizer.json", tmp_path / "bundle", "bundle", ["cup"])
    config = dataclasses.replace(
        run, student=student.config, start=str(bundle), text=str(bundle), encoder_frozen=True, frozen_steps=0
    )
    Fit(config, tmp_path / "run", Stage3(config)).run()
    learnt, _, _ = load_run(tmp_path / "run")
    with pytest.raises(ValueError, match="has not learnt anything"):
        release(tmp_path / "run", tmp_path / "mine", "mine")
    both, _ = with_memory(learnt, bundle)
    kept = prepare(student).state_dict()
    assert all(torch.equal(v, kept[n]) for n, v in both.state_dict().items() if n.startswith("memory."))
    with torch.no_grad():
        next(learnt.image_encoder.parameters()).add_(1)
    with pytest.raises(ValueError, match="another image encoder"):
        with_memory(learnt, bundle)


def test_a_run_that_trained_no_refiner_is_not_exported_with_one(run: DistillConfig, tmp_path: Path) -> None:
    config = dataclasses.replace(run, student=dataclasses.replace(run.student, refiner=True))
    Fit(config, tmp_path / "run", Stage3(config)).run()
    with pytest.raises(ValueError, match=r"stage 3 does not train the refiner of .*: add --refiner"):
        release(tmp_path / "run", tmp_path / "mine", "mine")


def test_the_text_encoder_may_come_from_another_bundle_than_the_rest(run: DistillConfig, tiny_bundle: Path) -> None:
    student = Stage3(dataclasses.replace(run, start="")).student
    own = student.state_dict()
    assert all(torch.equal(own[name], value) for name, value in graph_weights(tiny_bundle, "text_encoder").items())


def test_a_bundle_with_another_text_encoder_is_refused_and_changes_nothing(
    run: DistillConfig, tiny_bundle: Path
) -> None:
    text = dataclasses.replace(run.student.text, width=2 * run.student.text.width)
    student = Student(dataclasses.replace(run.student, text=text))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with pytest.raises(ValueError, match=r"student\.yaml"):
        load_text_weights(student, tiny_bundle)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert any(part in name for name in before for part in UNUSED)
