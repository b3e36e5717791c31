# SPDX-License-Identifier: Apache-2.0
"""The fit loop: what trains, and that a run survives a kill, a bad step and a wrong folder."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from esam3_core.cli import main
from esam3_core.config import to_dict
from esam3_core.config_stage3 import DistillConfig
from esam3_core.deploy import export
from esam3_core.distill.commands import read_config
from esam3_core.distill.fit import Fit, NotSaved, rate_share
from esam3_core.distill.release import load_run
from esam3_core.distill.run_log import TIMES
from esam3_core.distill.stage3 import Stage3

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums over threads come in another order on another machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def whole_run(tiny_run: DistillConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run that nobody disturbed."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    Fit(tiny_run, folder).run()
    return folder


def read_log(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def state_of(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.pt", weights_only=True)


def test_a_run_leaves_everything_a_person_wants_to_see(whole_run: Path, tiny_run: DistillConfig) -> None:
    assert {path.name for path in whole_run.iterdir()} == {
        "config.yaml", "last.pt", "log.jsonl", "curves.png", "samples.png", "tensorboard",
    }  # fmt: skip
    log = read_log(whole_run)
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6]
    assert all(row["total"] == pytest.approx(row["total"]) for row in log)
    assert read_config(whole_run / "config.yaml") == tiny_run


def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    whole_run: Path, tiny_run: DistillConfig, tmp_path: Path
) -> None:
    """Same losses and weights to the last digit, though the process died between two checkpoints."""
    config = dataclasses.replace(tiny_run, checkpoint_every=0.0)
    folder, path = tmp_path / "killed", tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(config)))))
    command = [sys.executable, "-m", "esam3_core", "distill", "stage3", str(path), "--out", str(folder)]
    run = subprocess.Popen(
        [*command, "--threads", "1"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_lines(folder / "log.jsonl", 3, run)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    (folder / "log.jsonl").open("a").write('{"step": 99, "total": 1.0}\n{"step": 5, "tot')
    assert state_of(folder)["step"] < 6
    fit = Fit(config, folder)
    assert fit.step == state_of(folder)["step"] > 0
    fit.run()
    assert read_log(folder) == read_log(whole_run)
    ours, theirs = state_of(folder), state_of(whole_run)
    for part in ("student", "average"):
        for name, value in theirs[part].items():
            assert torch.equal(ours[part][name], value), name


def wait_for_lines(path: Path, count: int, run: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        assert run.poll() is None, f"the run ended with {run.returncode} before it was killed"
        time.sleep(0.1)
    raise AssertionError("the run made no step in two minutes")


def test_a_finished_run_has_nothing_to_do(whole_run: Path, tiny_run: DistillConfig, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(whole_run, folder)
    Fit(tiny_run, folder).run()
    assert read_log(folder) == read_log(whole_run)


def test_a_folder_with_another_run_is_refused(whole_run: Path, tiny_run: DistillConfig) -> None:
    before = (whole_run / "config.yaml").read_text()
    with pytest.raises(ValueError, match=r"another rate: continue with its config.yaml or choose a new folder"):
        Fit(dataclasses.replace(tiny_run, rate=1.0), whole_run)
    assert (whole_run / "config.yaml").read_text() == before


@pytest.mark.parametrize("text", ["", "student: [", "steps: 0\n", "sources: 5\n"])
def test_a_run_whose_own_configuration_is_damaged_is_not_gone_on_with(
    text: str, tiny_run: DistillConfig, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"cannot go on, .*config\.yaml.*; restore that file, or choose a new folder$"):
        Fit(tiny_run, tmp_path)
    assert (tmp_path / "config.yaml").read_text() == text


def test_a_run_may_be_made_longer(whole_run: Path, tiny_run: DistillConfig, tmp_path: Path) -> None:
    folder = tmp_path / "longer"
    shutil.copytree(whole_run, folder)
    Fit(dataclasses.replace(tiny_run, steps=7), folder).run()
    assert [row["step"] for row in read_log(folder)] == [1, 2, 3, 4, 5, 6, 7]


@pytest.fixture()
def fit(tiny_run: DistillConfig, tmp_path: Path) -> Fit:
    """A run past its frozen steps."""
    fit = Fit(tiny_run, tmp_path / "run")
    fit.step = tiny_run.frozen_steps
    return fit


def weights(fit: Fit) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in fit.stage.student.named_parameters()}


def test_a_loss_that_is_no_number_is_skipped_and_counted(fit: Fit) -> None:
    batch = fit.stage.batches(0).batch(0)
    next(mask for mask in batch.masks if len(mask)).fill_(float("nan"))
    before = weights(fit)
    fit.train_step(batch)
    assert fit.bad_steps == 1
    assert all(torch.equal(value, before[name]) for name, value in weights(fit).items())
    assert all(torch.isfinite(value).all() for value in fit.average.values())
    fit.save()
    assert state_of(fit.folder)["bad_steps"] == 1


def test_a_gradient_that_is_no_number_is_skipped_and_counted(fit: Fit) -> None:
    before = weights(fit)
    spoilt = next(p for p in fit.stage.student.parameters() if p.requires_grad)
    handle = spoilt.register_hook(lambda gradient: gradient * float("nan"))
    fit.train_step(fit.stage.batches(0).batch(0))
    handle.remove()
    assert fit.bad_steps == 1
    assert all(torch.equal(value, before[name]) for name, value in weights(fit).items())


def test_a_step_that_overflows_leaves_no_trace_in_statistics_or_average(fit: Fit) -> None:
    """BatchNorm that still learns does so in the forward pass, long before anybody sees that the step is bad."""
    assert isinstance(fit.stage, Stage3)
    fit.stage.knows_statistics = False
    trunk, batch = fit.stage.student.image_encoder.trunk, fit.stage.batches(0).batch(0)
    before = {name: value.clone() for name, value in trunk.named_buffers()}
    average = {name: value.clone() for name, value in fit.average.items()}
    handle = trunk.register_forward_pre_hook(lambda _, inputs: (inputs[0] * float("inf"),))
    fit.train_step(batch)
    handle.remove()
    assert fit.bad_steps == 1
    assert all(torch.equal(value, before[name]) for name, value in trunk.named_buffers())
    assert all(torch.equal(value, average[name]) for name, value in fit.average.items())
    fit.train_step(batch)
    assert fit.bad_steps == 1
    assert all(torch.isfinite(value).all() for value in fit.average.values())
    assert not any(torch.equal(value, before[name]) for name, value in trunk.named_buffers())


def test_a_full_disk_ends_the_run_and_leaves_the_last_checkpoint(whole_run: Path, tmp_path: Path) -> None:
    """The limit on the size of files stands for the disk."""
    folder = tmp_path / "copy"
    shutil.copytree(whole_run, folder)
    fit = Fit(read_config(folder / "config.yaml"), folder)
    before = (folder / "last.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(NotSaved, match=r"step 6 cannot be saved in .*: make room and start again"):
            fit.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / "last.pt").read_bytes() == before and not (folder / "last.tmp").exists()


def gradients(stage: Stage3, step: int) -> dict[str, torch.Tensor | None]:
    """Gradients of several batches together, by parameter name."""
    stage.train_mode(step)
    stage.student.zero_grad(set_to_none=True)
    for number in range(3):
        stage.loss(stage.batches(0).batch(number))[0].backward()
    return {name: p.grad for name, p in stage.student.named_parameters()}


def test_gradients_reach_everything_that_should_train_and_nothing_else(fit: Fit) -> None:
    trained = {id(p) for group in fit.optimiser.param_groups for p in group["params"]}
    found = gradients(fit.stage, fit.step)
    for name, parameter in fit.stage.student.named_parameters():
        gradient = found[name]
        frozen = name.startswith("image_encoder.trunk.body.stem")
        text = name.startswith("text_encoder.") and not name.startswith("text_encoder.project.")
        assert (id(parameter) in trained) == (not frozen and not text), name
        if frozen or text:
            assert gradient is None, name
        else:
            assert gradient is not None and torch.isfinite(gradient).all(), name
            # Attention does not depend on the bias of its keys: softmax takes it out again.
            assert gradient.abs().max() > 0 or name.endswith("key.bias"), name


@pytest.mark.parametrize(
    ("change", "learns"),
    [
        ({"text_rate": 1e-5}, "text_encoder."),
        ({"frozen": ()}, "image_encoder.trunk.body.stem"),
    ],
)
def test_what_is_unfrozen_learns_at_its_own_rate(
    change: dict[str, Any], learns: str, tiny_run: DistillConfig, tmp_path: Path
) -> None:
    fit = Fit(dataclasses.replace(tiny_run, frozen_steps=0, warmup=0, trunk_rate=3e-5, **change), tmp_path / "run")
    before = weights(fit)
    fit.train_step(fit.stage.batches(0).batch(0))
    after = weights(fit)
    rates = {id(p): group["lr"] for group in fit.optimiser.param_groups for p in group["params"]}
    for name, parameter in fit.stage.student.named_parameters():
        if name.startswith(learns) and not name.startswith(("text_encoder.project.", "text_encoder.sentence.")):
            assert rates[id(parameter)] == pytest.approx(change.get("text_rate", 3e-5)), name
            moved = (after[name] - before[name]).abs().max()
            assert moved <= 1.5 * rates[id(parameter)] and (moved > 0 or name.endswith("key.bias")), name


def test_the_trunk_waits_at_first(fit: Fit) -> None:
    found = gradients(fit.stage, 0)
    trunk = {name: gradient for name, gradient in found.items() if name.startswith("image_encoder.trunk.")}
    assert trunk and all(gradient is None for gradient in trunk.values())


@pytest.mark.parametrize("knows", [True, False])
def test_a_trunk_that_has_seen_pictures_keeps_its_statistics_a_random_one_learns_them(fit: Fit, knows: bool) -> None:
    assert isinstance(fit.stage, Stage3)
    fit.stage.knows_statistics = knows
    trunk = fit.stage.student.image_encoder.trunk
    before = {name: value.clone() for name, value in trunk.named_buffers()}
    fit.train_step(fit.stage.batches(0).batch(0))
    assert before and all(torch.equal(value, before[name]) for name, value in trunk.named_buffers()) == knows


def test_steps_lower_the_loss_of_what_they_see(fit: Fit) -> None:
    batch = fit.stage.batches(0).batch(0)
    losses = [fit.train_step(batch)["total"] for _ in range(12)]
    assert max(losses[-3:]) < 0.95 * losses[0]


def test_the_learning_rate_warms_up_stays_and_decays() -> None:
    config = DistillConfig(steps=100, warmup=10, decay=20)
    shares = [rate_share(step, config) for step in range(101)]
    assert shares[0] == 0.1 and shares[9] == 1.0
    assert set(shares[10:81]) == {1.0}
    assert shares[81:] == sorted(shares[81:], reverse=True)
    assert shares[100] == pytest.approx(0.02)


def test_a_run_starts_from_another(whole_run: Path, tiny_run: DistillConfig) -> None:
    stage = Stage3(dataclasses.replace(tiny_run, start=str(whole_run / "last.pt")))
    average = state_of(whole_run)["average"]
    assert all(torch.equal(value, average[name]) for name, value in stage.student.state_dict().items())


def test_a_run_becomes_a_bundle(
    whole_run: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    student, _, steps = load_run(whole_run)
    average = state_of(whole_run)["average"]
    assert steps == 6
    assert all(torch.equal(value, average[name]) for name, value in student.state_dict().items())
    # Tracing takes most of a minute and is tested elsewhere; these graphs have the same sizes.
    monkeypatch.setattr(export, "export_graph", lambda s, graph, spec, path: shutil.copy(tiny_bundle / path.name, path))
    options = ["--keep-share", "0.7", "--new-score", "0.65"]
    assert main(["export", str(whole_run), "--out", str(tmp_path / "tabletop"), *options]) == 0
    assert "wrote" in capsys.readouterr().out
    card = yaml.safe_load((tmp_path / "tabletop" / "student.yaml").read_text())
    assert card["name"] == "tabletop"
    assert (card["tracker"]["keep_share"], card["tracker"]["new_score"]) == (0.7, 0.65)
    assert card["provenance"]["steps"] == 6 and card["provenance"]["sources"] == ["scenes", "real"]


def test_bad_input_names_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["distill", "stage3", str(tmp_path / "none.yaml"), "--out", str(tmp_path)]) == 2
    assert "config/distill/ holds examples" in capsys.readouterr().err
    (tmp_path / "odd.yaml").write_text("learning_rate: 3\n")
    assert main(["distill", "stage3", str(tmp_path / "odd.yaml"), "--out", str(tmp_path)]) == 2
    assert f"{tmp_path / 'odd.yaml'}: DistillConfig has no learning_rate; it has student" in capsys.readouterr().err
    assert main(["distill", "stage3", str(tmp_path / "odd.yaml"), "--out", str(tmp_path), "--threads", "0"]) == 2
    assert "--threads is 0: name 1 or more" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "bundle")]) == 2
    assert "train with `esam3 distill stage3 CONFIG --out" in capsys.readouterr().err
