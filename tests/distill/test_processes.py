# SPDX-License-Identifier: Apache-2.0
"""Several processes train as one, and one precision or memory setting as another."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from esam3_core.config import to_dict
from esam3_core.config_fit import FitConfig
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.activations import forget_activations
from esam3_core.distill.fit import Fit
from esam3_core.distill.stage3 import Stage3
from tests.distill.fit_strategies import fit

ROOT = Path(__file__).resolve().parents[2]
STRATEGIES = ("ddp", "fsdp")


@pytest.fixture(scope="module")
def runs(tiny_run: DistillConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run on one process with two batches per step, and of runs on two processes with one batch each."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("processes")
    config = dataclasses.replace(tiny_run, frozen_steps=1)
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(config)))))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*command, "tests/distill/fit_strategies.py", str(path), str(folder), *STRATEGIES],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    fit(dataclasses.replace(config, fit=FitConfig(accumulate=2)), folder / "one")
    return folder


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_train_as_one_with_twice_the_batch(strategy: str, runs: Path) -> None:
    """Three steps of AdamW move a weight by up to 1.2e-3. The two differ in the order of their sums alone: in the mean
    by less than 1e-6, and where a gradient is nearly nothing, so that its sign is chance, by less than 3e-4."""
    one, two = (torch.load(runs / name / "last.pt", weights_only=True) for name in ("one", strategy))
    assert one["step"] == two["step"] == 3
    start = Stage3(read(runs)).student
    trained = [name for name, value in start.named_parameters() if not torch.equal(value, one["student"][name])]
    apart = torch.cat([(one["student"][name] - two["student"][name]).abs().flatten() for name in trained])
    moved = torch.cat([(one["student"][n] - start.state_dict()[n]).abs().flatten() for n in trained])
    assert len(trained) > 100 and moved.mean() > 1e-4
    assert apart.mean() < 1e-6 and apart.max() < 3e-4


def read(folder: Path) -> DistillConfig:
    from esam3_core.distill.commands import read_config

    return read_config(folder / "run.yaml")


def test_each_process_sees_its_own_pictures(runs: Path) -> None:
    """Step s of two processes is batch 2s and 2s + 1; the log tells of the first."""
    one, two = (json.loads((runs / name / "log.jsonl").read_text().splitlines()[0]) for name in ("one", "ddp"))
    stage = Stage3(read(runs))
    first = float(stage.loss(stage.batches(0).batch(0))[0].detach())
    assert two["total"] == pytest.approx(first, rel=0.02) and one["total"] != two["total"]


@pytest.mark.parametrize("change", [{"precision": "bf16-mixed"}, {"checkpointing": True}])
def test_a_step_in_another_way_is_nearly_the_same_step(
    change: dict[str, object], tiny_run: DistillConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_run, frozen_steps=0)
    plain = Fit(config, tmp_path / "plain")
    other = Fit(dataclasses.replace(config, fit=FitConfig(**change)), tmp_path / "other")  # type: ignore[arg-type]
    batch = plain.stage.batches(0).batch(0)
    exact = "checkpointing" in change
    for _ in range(2):
        ours, theirs = other.train_step(batch)["total"], plain.train_step(batch)["total"]
        assert ours == pytest.approx(theirs, rel=1e-5 if exact else 0.05)
    assert all(value.dtype == torch.float32 for value in other.stage.student.parameters())
    assert exact or ours != theirs


def test_activations_are_computed_again_instead_of_kept(tiny_run: DistillConfig) -> None:
    """Bytes that autograd holds between the two passes."""

    def held(checkpointing: bool) -> int:
        stage = Stage3(tiny_run)
        stage.parameters()
        stage.train_mode(10)
        if checkpointing:
            assert forget_activations(stage.student) > 5
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            total, _ = stage.loss(stage.batches(0).batch(0))
        assert torch.isfinite(total)
        return sum(kept.values())

    assert held(True) < 0.8 * held(False)
