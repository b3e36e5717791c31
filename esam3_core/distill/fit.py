# SPDX-License-Identifier: Apache-2.0
"""The fit loop: steps, schedule, running average, checkpoints, log. Resumes to the exact step, on many processes."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric
from torch import Tensor, nn
from tqdm import tqdm

from esam3_core.config import to_dict
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.activations import forget_activations
from esam3_core.distill.checkpoint_file import CHECKPOINT, load_checkpoint, save_checkpoint
from esam3_core.distill.commands import read_run
from esam3_core.distill.drafts import write_whole
from esam3_core.distill.loading import Loader
from esam3_core.distill.norm_statistics import NormStatistics
from esam3_core.distill.processes import clip_gradients, from_all, make_fabric, shared, shared_moments, whole
from esam3_core.distill.report import draw_curves
from esam3_core.distill.run_log import RunLog
from esam3_core.distill.stage import Numbered, RunConfig, Stage
from esam3_core.runtime.errors import Esam3Error

SHOWN_STEP = 10**9  # number of the batch that sample pictures show; no run gets there
FREE = {"steps", "decay", "checkpoint_every"}  # what may change when a run goes on


def rate_share(step: int, config: RunConfig) -> float:
    """Share of the learning rate at a step: warm-up, plateau, cosine decay to a fiftieth."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    left = config.steps - step
    if left >= config.decay:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * max(left, 0) / config.decay))


class NotSaved(Esam3Error):
    """The disk takes no checkpoint."""


class Step(nn.Module):
    """A stage's loss as one module, so that gradients meet between processes wherever they arise."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.student, self.helpers = stage.student, stage.helpers

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        return self.stage.loss(batch)


class Fit:
    """One run in one folder: `config.yaml`, `last.pt`, `log.jsonl`, `curves.png`, `samples.png`, `tensorboard/`.

    Args:
        config: of the run.
        folder: of the run; a checkpoint in it is continued.
        stage: what is trained; default: stage 3.
        fabric: processes and devices; default: what `torchrun` started, or this process alone.
        workers: processes that load data, for each that trains.

    Raises:
        ValueError: if the folder holds a run with another configuration.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        stage: Stage | None = None,
        fabric: Fabric | None = None,
        workers: int = 1,
    ) -> None:
        self.config, self.folder, self.workers = config, folder, workers
        self.fabric = fabric or make_fabric(config.fit)
        self.stage = stage or _stage3(config)
        self.stage.parameters()  # what never trains needs no place in the exchange of gradients
        if config.fit.checkpointing:
            forget_activations(self.stage.student)
        self.stage.prepare(self.fabric.device)
        self.module: Any = self.fabric.setup_module(Step(self.stage))
        self.stage.to(self.fabric.device)
        groups = self.stage.parameters()  # again: sharing weights out makes new tensors of them
        self.rates = [float(group.pop("rate")) for group in groups]  # type: ignore[arg-type]
        self.optimiser = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.weight_decay)
        self.average = {k: v.detach().clone() for k, v in self.stage.student.state_dict().items()}
        self.step = 0
        self.bad_steps = 0
        self.shown_batch = self.stage.batches(0).batch(SHOWN_STEP)
        self._remember_config()
        if self.checkpoint.exists():
            self._resume()
        first = self.fabric.is_global_zero
        self.log = RunLog(folder, self.step, self.pictures) if first else None

    @property
    def checkpoint(self) -> Path:
        """Where the run's state lies."""
        return self.folder / CHECKPOINT

    @property
    def pictures(self) -> int:
        """Seen in one step, by all processes."""
        return self.config.pictures * self.config.fit.accumulate * self.fabric.world_size

    def run(self) -> None:
        """Train to the last step."""
        begun, accumulate = self.step, self.config.fit.accumulate
        batches, share = self.stage.batches(0), (self.fabric.world_size, self.fabric.global_rank, accumulate)
        loader = Loader(lambda step: Numbered(batches, step, *share), self.step, accumulate, self.workers)
        progress = tqdm(
            total=self.config.steps, initial=self.step, unit="step", smoothing=0.05, disable=self.log is None
        )
        saved = time.monotonic()
        while self.step < self.config.steps:
            start = time.monotonic()
            seen = loader.step(self.step)
            waited = time.monotonic() - start
            terms = self.train_step(*seen)
            self._note(terms, waited, time.monotonic() - start - waited, progress)
            if self._agreed(time.monotonic() - saved > self.config.checkpoint_every):
                self.save()
                saved = time.monotonic()
        progress.close()
        self.save()
        if self.log is not None:
            print(self.log.speed(self.step - begun))
            if self.bad_steps:
                print(f"{self.bad_steps} steps changed nothing: their loss or gradient was not finite")
            self.log.close()
        if self.config.fit.strategy == "ddp" or self.fabric.world_size == 1:
            self.stage.student.load_state_dict(self.average)
            if self.fabric.is_global_zero:
                self.stage.finish(self.folder)

    def train_step(self, *batches: Any) -> dict[str, float]:
        """One step from the mean gradient of its batches, over all processes; a loss or gradient that is not finite
        changes nothing but a counter: no weight, no statistics of a normalisation, no average."""
        self.stage.train_mode(self.step)
        statistics = NormStatistics(self.module)
        share = rate_share(self.step, self.config)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for place, batch in enumerate(batches):
            with self.fabric.no_backward_sync(self.module, enabled=place < len(batches) - 1):
                total, terms = self.module(self.fabric.to_device(batch))
                if not torch.isfinite(total):
                    total = total * float("nan")  # spoils the gradient of all processes: they skip the step together
                self.fabric.backward(total / len(batches))
            for name, value in {"total": float(total.detach()), **terms}.items():
                sums[name] = sums.get(name, 0.0) + value / len(batches)
        trained = [p for g in self.optimiser.param_groups for p in g["params"] if p.grad is not None]
        if trained and torch.isfinite(clip_gradients(trained, self.config.clip)):
            self.optimiser.step()
            self._update_average()
        else:
            statistics.restore()
            self.bad_steps += 1
        self.step += 1
        return sums

    def _agreed(self, wish: bool) -> bool:
        """What the first process wants: all must take part in a checkpoint."""
        return bool(self.fabric.broadcast(wish)) if self.fabric.world_size > 1 else wish

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.config.average, (1 + self.step) / (10 + self.step))
        for name, value in self.stage.student.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - keep)
            else:
                self.average[name].copy_(value)

    def save(self) -> None:
        """Write the run's state; a kill in between leaves the previous one."""
        random = from_all(self.fabric, torch.get_rng_state())
        state = {
            "step": self.step,
            "student": whole(self.stage.student.state_dict()),
            "average": whole(self.average),
            "optimiser": whole(self.optimiser.state_dict()),
            "helpers": whole(self.stage.helpers.state_dict()),
            "random": random[0].clone(),
            "others_random": random[1:].clone(),
            "bad_steps": self.bad_steps,
        }
        if self.log is not None:
            try:
                save_checkpoint(state, self.checkpoint)
            except (OSError, RuntimeError) as error:
                raise NotSaved(
                    f"step {self.step} cannot be saved in {self.folder} ({error}): make room and start again; what was "
                    "saved before is whole, and the run goes on from there"
                ) from error
            self._show(state["average"])
        self.fabric.barrier()

    def _show(self, average: dict[str, Tensor]) -> None:
        assert self.log is not None
        draw_curves(self.folder / "log.jsonl", self.folder / "curves.png")
        with torch.random.fork_rng(devices=[]):
            shown = self.stage.blank()
        shown.load_state_dict(average)
        self.stage.draw(shown, self.shown_batch, self.folder / "samples.png")
        self.log.picture(self.folder / "samples.png", self.step)

    def _resume(self) -> None:
        state: dict[str, Any] = load_checkpoint(self.checkpoint)
        if "optimiser" not in state:
            raise ValueError(
                f"{self.folder} is the mean of two runs and cannot go on: name it as start, and choose a new folder"
            )
        student, helpers = self.stage.student, self.stage.helpers
        student.load_state_dict(shared(state["student"], student.state_dict()))
        helpers.load_state_dict(shared(state.get("helpers", {}), helpers.state_dict()))
        self.optimiser.load_state_dict(shared_moments(state["optimiser"], self.optimiser))
        for name, value in shared(state["average"], self.average).items():
            self.average[name].copy_(value)
        self.step, self.bad_steps = state["step"], state["bad_steps"]
        random = [state["random"], *state.get("others_random", ())]
        if self.fabric.global_rank < len(random):
            torch.set_rng_state(random[self.fabric.global_rank])

    def _remember_config(self) -> None:
        """Keep the configuration beside the run; only its length may change when it goes on."""
        path = self.folder / "config.yaml"
        ours = json.loads(json.dumps(to_dict(self.config)))
        if path.exists():
            theirs = json.loads(json.dumps(to_dict(self._config_of_run(path))))
            changed = [k for k in ours if k not in FREE and ours[k] != theirs.get(k)]
            if changed:
                raise ValueError(
                    f"{self.folder} holds a run with another {', '.join(changed)}: "
                    "continue with its config.yaml or choose a new folder"
                )
        self.fabric.barrier()
        if self.fabric.is_global_zero:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, yaml.safe_dump(ours, sort_keys=False))

    def _config_of_run(self, path: Path) -> RunConfig:
        """Read through the dataclass: what the run's version did not know yet has its default."""
        try:
            return read_run(path, type(self.config))
        except ValueError as error:
            raise ValueError(f"the run cannot go on, {error}; restore that file, or choose a new folder") from error

    def _note(self, terms: dict[str, float], waited: float, worked: float, progress: Any) -> None:
        if self.log is None:
            return
        self.log.add(self.step, terms, self.optimiser.param_groups[0]["lr"], waited, worked)
        shown = {name: f"{value:.2f}" for name, value in list(terms.items())[:4]}
        progress.set_postfix(shown | {"wait": f"{waited:.2f}s"}, refresh=False)
        progress.update()


def _stage3(config: RunConfig) -> Stage:
    from esam3_core.distill.stage3 import Stage3

    assert isinstance(config, DistillConfig)
    return Stage3(config)
