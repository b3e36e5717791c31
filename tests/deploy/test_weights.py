# SPDX-License-Identifier: Apache-2.0
"""A bundle gives back the weights it was made from, so that training can go on from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from esam3_core.config import StudentConfig
from esam3_core.deploy.export import prepare
from esam3_core.deploy.weights import UNUSED, load_weights
from esam3_core.distill.stage3 import start_from
from esam3_core.nn.student import Student


def test_every_weight_that_a_graph_needs_comes_back_as_the_bundle_keeps_it(
    tiny_student: Student, tiny_bundle: Path, tiny_config: StudentConfig
) -> None:
    other = Student(tiny_config)
    load_weights(other, tiny_bundle)
    kept = prepare(tiny_student).state_dict()
    for name, value in other.state_dict().items():
        if not any(part in name for part in UNUSED):
            torch.testing.assert_close(value, kept[name], atol=0, rtol=0, msg=name)


def test_training_starts_from_a_bundle_or_from_a_checkpoint(
    tiny_student: Student, tiny_bundle: Path, tiny_config: StudentConfig, tmp_path: Path
) -> None:
    torch.save({"average": tiny_student.state_dict()}, tmp_path / "last.pt")
    for start, exact in ((tiny_bundle, prepare(tiny_student)), (tmp_path / "last.pt", tiny_student)):
        student = Student(tiny_config)
        start_from(student, start)
        for name in ("image_encoder.neck.lateral16.0.weight", "detector.decoder.layers.0.mlp.layers.0.weight"):
            torch.testing.assert_close(student.state_dict()[name], exact.state_dict()[name], atol=0, rtol=0)


def test_a_bundle_of_another_student_is_refused_and_changes_nothing(
    tiny_bundle: Path, tiny_config: StudentConfig
) -> None:
    wider = Student(dataclasses.replace(tiny_config, width=2 * tiny_config.width))
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    with pytest.raises(ValueError, match=r"student\.yaml"):
        load_weights(wider, tiny_bundle)
    assert all(torch.equal(value, before[name]) for name, value in wider.state_dict().items())
