# SPDX-License-Identifier: Apache-2.0
"""The batches of a run, prepared by worker processes; one that is killed is replaced and costs nothing but time."""

from __future__ import annotations

import ctypes
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from esam3_core.runtime.errors import Esam3Error

AHEAD = 4  # batches that each worker prepares
PATIENCE = 2  # workers that may be lost one after another
PR_SET_PDEATHSIG = 1  # of Linux's prctl

logger = logging.getLogger(__name__)


class WorkersLost(Esam3Error):
    """Processes that load data are killed again and again."""


class Loader:
    """Batches by step.

    Args:
        opened: the endless batches from a step on. As a batch depends on its number alone, those of a worker that was
            killed are made again, the same.
        step: to begin with.
        together: batches of one step.
        workers: processes; 0 = this one.
    """

    def __init__(
        self, opened: Callable[[int], IterableDataset[Any]], step: int, together: int, workers: int
    ) -> None:
        self.opened, self.together, self.workers = opened, together, workers
        self.batches = self._start(step)
        self.lost = 0

    def step(self, number: int) -> list[Any]:
        """The batches of step `number`; steps come in order.

        Raises:
            WorkersLost: several in a row were killed.
        """
        while True:
            try:
                batches = [next(self.batches) for _ in range(self.together)]
            except RuntimeError as error:  # torch has no kind of its own for it
                if "DataLoader worker" not in str(error):
                    raise
                self._replace(number, error)
            else:
                self.lost = 0
                return batches

    def _replace(self, number: int, error: RuntimeError) -> None:
        self.lost += 1
        if self.lost > PATIENCE:
            raise WorkersLost(
                f"processes that load data are killed again and again ({error}): memory may be too small, so use fewer "
                "pictures per step or smaller ones; the last checkpoint is whole, start again to go on from it"
            ) from error
        logger.warning("a process that loads data was killed at step %d and is replaced (%s)", number, error)
        self.batches = self._start(number)

    def _start(self, step: int) -> Iterator[Any]:
        ahead = AHEAD if self.workers else None
        loader = DataLoader(
            self.opened(step),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=ahead,
            worker_init_fn=_end_with_run,
        )
        batches = iter(loader)
        if self.workers and threading.current_thread() is threading.main_thread():
            # torch would raise in the middle of whatever the trainer does; the next batch is early enough.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return batches


def _end_with_run(_: int) -> None:
    """Let a worker die with a run that is killed: torch looks after the run between two batches only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
