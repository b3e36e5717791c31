# SPDX-License-Identifier: Apache-2.0
"""Batches from worker processes, also when these are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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


RUN = """
import os, signal, time
from torch.utils.data import IterableDataset
from esam3_core.distill.loading import Loader

class Slow(IterableDataset):
    def __iter__(self):
        yield os.getpid()
        time.sleep(600)

print(Loader(lambda step: Slow(), 0, 1, 1).step(0)[0], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent died")
def test_workers_end_with_a_run_that_is_killed() -> None:
    worker = int(subprocess.run([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True, check=False).stdout)
    until = time.monotonic() + 30
    while alive(worker):
        assert time.monotonic() < until, "the worker outlived its run"
        time.sleep(0.05)


def alive(process: int) -> bool:
    """Whether it runs: one that ended stays in the table until somebody asks for it."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
