# SPDX-License-Identifier: Apache-2.0
"""Batches from worker processes, also when these are killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch.utils.data import IterableDataset

from esam3_core.distill.loading import PATIENCE, Loader, WorkersLost


class Numbers(IterableDataset[int]):
    """Counts from a step on; at number 4 the system kills the process, as often as there are files in a folder."""

    def __init__(self, first: int, folder: Path) -> None:
        self.first, self.folder = first, folder

    def __iter__(self) -> Iterator[int]:
        for number in range(2 * self.first, 100):
            deaths = sorted(self.folder.iterdir())
            if number == 4 and deaths:
                deaths[0].unlink()
                os.kill(os.getpid(), signal.SIGKILL)
            yield number


def loader(folder: Path, deaths: int, workers: int = 1) -> Loader:
    for index in range(deaths):
        (folder / str(index)).touch()
    return Loader(lambda step: Numbers(step, folder), 0, 2, workers)


@pytest.mark.parametrize(("workers", "deaths"), [(0, 0), (1, 0), (1, 1)])
def test_every_step_gets_its_batches_whoever_dies(workers: int, deaths: int, tmp_path: Path) -> None:
    batches = loader(tmp_path, deaths, workers)
    assert [batches.step(number) for number in range(5)] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_workers_that_die_again_and_again_end_the_run(tmp_path: Path) -> None:
    batches = loader(tmp_path, 10 * PATIENCE)  # number 4 is never had, whatever was prepared before it
    with pytest.raises(WorkersLost, match="use fewer pictures per step"):
        for number in range(3):
            batches.step(number)


def test_bad_data_is_no_lost_worker(tmp_path: Path) -> None:
    batches = loader(tmp_path / "missing", 0)
    with pytest.raises(FileNotFoundError):
        batches.step(0)
