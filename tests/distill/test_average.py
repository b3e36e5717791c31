# SPDX-License-Identifier: Apache-2.0
"""`esam3 average`: between two runs or two bundles, weight by weight; what cannot be averaged is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from esam3_core.cli import main
from esam3_core.config import StudentConfig, to_dict
from esam3_core.config_stage3 import DistillConfig
from esam3_core.deploy.export import export_bundle, prepare
from esam3_core.deploy.weights import bundle_student
from esam3_core.distill.checkpoint_file import load_checkpoint, save_checkpoint
from esam3_core.distill.fit import Fit
from esam3_core.distill.release import load_run
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import Bundle


def write_run(folder: Path, config: StudentConfig, seed: int) -> Path:
    torch.manual_seed(seed)
    weights = Student(config).state_dict()
    folder.mkdir()
    run = DistillConfig(student=config, size=config.size)
    (folder / "config.yaml").write_text(yaml.safe_dump(to_dict(run)))
    save_checkpoint({"step": 7 + seed, "average": weights}, folder / "last.pt")
    return folder


@pytest.fixture
def runs(tmp_path: Path, tiny_config: StudentConfig) -> tuple[Path, Path]:
    return write_run(tmp_path / "first", tiny_config, 0), write_run(tmp_path / "second", tiny_config, 1)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_checkpoint(folder / "last.pt")["average"]
    return weights


@pytest.mark.parametrize(("option", "share"), [([], 0.5), (["--share", "0.25"], 0.25), (["--share", "1"], 1.0)])
def test_every_weight_lies_between(runs: tuple[Path, Path], tmp_path: Path, option: list[str], share: float) -> None:
    first, second = runs
    assert main(["average", str(first), str(second), "--out", str(tmp_path / "mean"), *option]) == 0
    old, new, mean = (weights_of(folder) for folder in (first, second, tmp_path / "mean"))
    assert mean.keys() == new.keys()
    for key, value in mean.items():
        expected = old[key] + share * (new[key] - old[key]) if value.is_floating_point() else new[key]
        torch.testing.assert_close(value, expected)
    student, config, steps = load_run(tmp_path / "mean")  # as export does
    assert steps == 8 and config.student == student.config


def test_a_mean_does_not_go_on(tiny_run: DistillConfig, tmp_path: Path) -> None:
    once, mean = tmp_path / "once", tmp_path / "mean"
    Fit(dataclasses.replace(tiny_run, steps=1), once).run()
    assert main(["average", str(once), str(once), "--out", str(mean)]) == 0
    with pytest.raises(ValueError, match="name it as start"):
        Fit(dataclasses.replace(tiny_run, steps=2), mean).run()


def test_what_is_refused_leaves_everything_as_it_was(
    runs: tuple[Path, Path], tmp_path: Path, tiny_config: StudentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = map(str, runs)
    wider = write_run(tmp_path / "wider", dataclasses.replace(tiny_config, ffn=tiny_config.ffn + 8), 2)
    before = (runs[1] / "last.pt").read_bytes()
    new = str(tmp_path / "new")
    for arguments, reason in (
        ([first, str(wider), "--out", new], "are not of one student"),
        ([first, str(tmp_path / "nowhere"), "--out", new], "no checkpoint in"),
        ([first, second, "--out", second], "holds a run: choose a new folder"),
        ([first, second, "--out", new, "--share", "1.5"], "it must lie in 0..1"),
    ):
        assert main(["average", *arguments]) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "new").exists() and (runs[1] / "last.pt").read_bytes() == before


def test_a_run_and_the_bundle_it_began_with(
    tiny_bundle: Path, tiny_student: Student, runs: tuple[Path, Path], tmp_path: Path
) -> None:
    assert main(["average", str(tiny_bundle), str(runs[1]), "--out", str(tmp_path / "mean")]) == 0
    old, new, mean = prepare(tiny_student).state_dict(), weights_of(runs[1]), weights_of(tmp_path / "mean")
    key = "detector.decoder.layers.0.mlp.layers.0.weight"
    torch.testing.assert_close(mean[key], (old[key] + new[key]) / 2)


def test_what_only_the_beginning_has_is_left_out(
    runs: tuple[Path, Path], tmp_path: Path, tiny_config: StudentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    refined = write_run(tmp_path / "refined", dataclasses.replace(tiny_config, refiner=True), 3)
    assert main(["average", str(refined), str(runs[1]), "--out", str(tmp_path / "mean")]) == 0
    assert weights_of(tmp_path / "mean").keys() == weights_of(runs[1]).keys()
    assert main(["average", str(runs[1]), str(refined), "--out", str(tmp_path / "other")]) == 2  # a run adds nothing
    assert "are not of one student" in capsys.readouterr().err


def test_two_bundles_make_a_third(
    tiny_bundle: Path, tiny_text: Path, tmp_path: Path, tiny_config: StudentConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    student, tokenizer = Student(tiny_config), tiny_text / "tokenizer.json"
    provenance = {"stage": "stage3"}
    other = export_bundle(student, tokenizer, tmp_path / "other", "other", ["bowl"], provenance=provenance)
    assert main(["average", str(tiny_bundle), str(other), "--share", "0.25", "--out", str(tmp_path / "mean")]) == 0
    old, new, mean = (Bundle.load(folder) for folder in (tiny_bundle, other, tmp_path / "mean"))
    assert (mean.name, set(mean.concepts), mean.student) == ("mean", {"cup", "mug", "bowl"}, new.student)
    assert mean.provenance["stage"] == "stage3"
    assert mean.provenance["average"] == {"of": ["tiny", "other"], "share": 0.25, "digests": [old.digest, new.digest]}
    weights = [bundle_student(bundle).state_dict() for bundle in (old, new, mean)]
    for key, value in weights[2].items():
        if "num_batches_tracked" not in key and "text_encoder.sentence" not in key:
            between = weights[0][key] + 0.25 * (weights[1][key] - weights[0][key])
            torch.testing.assert_close(value, between, rtol=2e-3, atol=1e-4)  # kept in half precision
    assert main(["average", str(tiny_bundle), str(other), "--out", str(tmp_path / "mean")]) == 2
    assert "holds a bundle: choose a new folder" in capsys.readouterr().err


def test_a_run_is_not_added_to_a_bundle(
    tiny_bundle: Path, runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["average", str(runs[0]), str(tiny_bundle), "--out", str(tmp_path / "mean")]) == 2
    assert "name the run second" in capsys.readouterr().err
    assert not (tmp_path / "mean").exists()
