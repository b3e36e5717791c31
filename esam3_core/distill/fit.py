# SPDX-License-Identifier: Apache-2.0
"""The fit loop: steps, schedule, running average, checkpoints, log. Resumes to the exact step."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils.data import DataLoader
from tqdm import tqdm

from esam3_core.config import DistillConfig, from_dict, to_dict
from esam3_core.distill.batches import Batch
from esam3_core.distill.report import draw_curves
from esam3_core.distill.samples import draw_samples
from esam3_core.distill.stage3 import Stage3

SHOWN_STEP = 10**9  # number of the batch that sample pictures show; no run gets there


def rate_share(step: int, config: DistillConfig) -> float:
    """Share of the learning rate at a step: warm-up, plateau, cosine decay to a fiftieth."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    left = config.steps - step
    if left >= config.decay:
        return 1.0
    return 0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * max(left, 0) / config.decay))


class Fit:
    """One run in one folder: `config.yaml`, `last.pt`, `log.jsonl`, `curves.png`, `samples.png`.

    Args:
        config: of the run.
        folder: of the run; a checkpoint in it is continued.

    Raises:
        ValueError: if the folder holds a run with another configuration.
    """

    def __init__(self, config: DistillConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.stage = Stage3(config)
        groups = self.stage.parameters()
        self.rates = [float(group.pop("rate")) for group in groups]  # type: ignore[arg-type]
        self.optimiser = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.weight_decay)
        self.average = {k: v.clone() for k, v in self.stage.student.state_dict().items()}
        self.step = 0
        self.bad_steps = 0
        self.shown_batch = self.stage.batches(0).batch(SHOWN_STEP)
        self._remember_config()
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """Where the run's state lies."""
        return self.folder / "last.pt"

    def run(self) -> None:
        """Train to the last step."""
        student = self.stage.student
        loader = DataLoader(
            self.stage.batches(self.step), batch_size=None, num_workers=1, prefetch_factor=4
        )
        progress = tqdm(total=self.config.steps, initial=self.step, unit="step", smoothing=0.05)
        saved = time.monotonic()
        waiting = time.monotonic()
        for batch in loader:
            if self.step >= self.config.steps:
                break
            waited = time.monotonic() - waiting
            terms = self.train_step(batch)
            self._log(terms, waited)
            progress.set_postfix(
                loss=f"{terms['total']:.2f}", query=f"{terms['query']:.2f}", dice=f"{terms['dice']:.2f}",
                presence=f"{terms['presence']:.2f}", wait=f"{waited:.2f}s", refresh=False,
            )
            progress.update()
            if time.monotonic() - saved > self.config.checkpoint_every:
                self.save()
                saved = time.monotonic()
            waiting = time.monotonic()
        progress.close()
        self.save()
        student.load_state_dict(self.average)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step; a loss or gradient that is not finite changes nothing but a counter."""
        self.stage.train_mode(self.step)
        share = rate_share(self.step, self.config)
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        total, terms = self.stage.loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        if torch.isfinite(total):
            total.backward()
        trained = [p for g in self.optimiser.param_groups for p in g["params"] if p.grad is not None]
        if trained and torch.isfinite(torch.nn.utils.clip_grad_norm_(trained, self.config.clip)):
            self.optimiser.step()
        else:
            self.bad_steps += 1
        self._update_average()
        self.step += 1
        return {"total": float(total.detach()), **terms}

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
        state = {
            "step": self.step,
            "student": self.stage.student.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "bad_steps": self.bad_steps,
        }
        draft = self.checkpoint.with_suffix(".tmp")
        torch.save(state, draft)
        os.replace(draft, self.checkpoint)
        draw_curves(self.folder / "log.jsonl", self.folder / "curves.png")
        shown = copy.deepcopy(self.stage.student)
        shown.load_state_dict(self.average)
        draw_samples(shown, self.shown_batch, self.folder / "samples.png")

    def _resume(self) -> None:
        state: dict[str, Any] = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.stage.student.load_state_dict(state["student"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.step, self.bad_steps = state["step"], state["bad_steps"]
        torch.set_rng_state(state["random"])
        self._cut_log()

    def _cut_log(self) -> None:
        """Take from the log what a killed run wrote after its last checkpoint: those steps come again."""
        path = self.folder / "log.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        # The first `step` lines are those steps; only the last line of a log can be torn.
        path.write_text("".join(f"{line}\n" for line in lines[: self.step]))

    def _remember_config(self) -> None:
        """Keep the configuration beside the run; only its length may change when it goes on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "config.yaml"
        ours = json.loads(json.dumps(to_dict(self.config)))
        if path.exists():
            free = {"steps", "decay", "checkpoint_every"}
            # Read through the dataclass: what the run's version did not know yet has its default.
            theirs = to_dict(from_dict(DistillConfig, yaml.safe_load(path.read_text())))
            theirs = json.loads(json.dumps(theirs))
            changed = [k for k in ours if k not in free and ours[k] != theirs.get(k)]
            if changed:
                raise ValueError(
                    f"{self.folder} holds a run with another {', '.join(changed)}: "
                    "continue with its config.yaml or choose a new folder"
                )
        path.write_text(yaml.safe_dump(ours, sort_keys=False))

    def _log(self, terms: dict[str, float], waited: float) -> None:
        line = {"step": self.step, **{k: round(v, 5) for k, v in terms.items()}, "wait": round(waited, 3)}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


