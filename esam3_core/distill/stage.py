# SPDX-License-Identifier: Apache-2.0
"""What the fit loop asks of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from esam3_core.config_fit import FitConfig
from esam3_core.nn.student import Student


class RunConfig(Protocol):
    """The part of a stage's configuration that the fit loop reads; units as in `config.DistillConfig`."""

    @property
    def fit(self) -> FitConfig: ...
    @property
    def pictures(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def decay(self) -> int: ...
    @property
    def rate(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def clip(self) -> float: ...
    @property
    def average(self) -> float: ...
    @property
    def checkpoint_every(self) -> float: ...


class BatchSource(Protocol):
    """Batches by number: number i depends on the seed and i alone."""

    def batch(self, step: int) -> Any: ...


class Stage:
    """A student, its batches and its loss.

    Attributes:
        student: what is trained, averaged and exported.
        helpers: what is trained beside it and thrown away at the end, such as adapters to the teacher's channels.
    """

    student: Student
    helpers: nn.Module = nn.Module()

    def parameters(self) -> list[dict[str, object]]:
        """Parameter groups {"params", "rate"}; what must not train gets no gradient."""
        raise NotImplementedError

    def prepare(self, device: torch.device) -> None:
        """Make what batches need, such as a cache; every process calls it, before weights are shared out."""

    def batches(self, first: int) -> BatchSource:
        """Batches from number `first` on."""
        raise NotImplementedError

    def train_mode(self, step: int) -> None:
        """Training mode of a step: which parts train, which statistics stay."""
        raise NotImplementedError

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of all terms, and each term for the log."""
        raise NotImplementedError

    def to(self, device: torch.device) -> None:
        """Bring along what is neither student nor helpers, such as a teacher."""

    def finish(self, folder: Path) -> None:
        """Write what else of a finished run is of use; the student holds its averaged weights."""

    def blank(self) -> Student:
        """Another student of the same sizes, to hold the averaged weights."""
        return Student(self.student.config)

    def draw(self, student: Student, batch: Any, picture: Path) -> None:
        """Draw what a student makes of a batch."""


class Numbered(IterableDataset[Any]):
    """The batches that one process of several sees, endless, each worker of a DataLoader taking its turn.

    One step uses `processes * accumulate` batches; process r takes `accumulate` neighbours of them.

    Args:
        batches: of the stage.
        first: step to begin with.
        processes, process, accumulate: who shares a step.
    """

    def __init__(self, batches: BatchSource, first: int, processes: int, process: int, accumulate: int) -> None:
        self.batches, self.first = batches, first
        self.processes, self.process, self.accumulate = processes, process, accumulate

    def number(self, turn: int) -> int:
        """Number of the batch this process sees at its `turn` since step `first`."""
        step, part = divmod(turn, self.accumulate)
        return ((self.first + step) * self.processes + self.process) * self.accumulate + part

    def __iter__(self):  # type: ignore[no-untyped-def]
        worker = torch.utils.data.get_worker_info()
        turn, stride = (0, 1) if worker is None else (worker.id, worker.num_workers)
        while True:
            yield self.batches.batch(self.number(turn))
            turn += stride
