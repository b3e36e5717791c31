# SPDX-License-Identifier: Apache-2.0
"""What is written is whole or not there, and what was there before stays until then."""

from __future__ import annotations

import dataclasses
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.drafts import STALE, remove_stale, write_whole
from esam3_core.distill.fit import Fit
from esam3_core.distill.run_log import RunLog
from esam3_core.runtime.draft import draft


@contextmanager
def full_disk(room: int = 100) -> Iterator[None]:
    """The limit on the size of files stands for the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "shard.bin"
    with draft(path) as own:
        own.write_bytes(b"half")
        assert not path.exists() and own.parent == tmp_path
        own.write_bytes(b"whole")
    assert contents(tmp_path) == {"shard.bin": b"whole"}


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "shard.bin"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt), draft(path) as own:
        own.write_bytes(b"half")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"shard.bin": b"before"}


def test_two_that_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "shard.bin"
    with draft(path) as one, draft(path) as two:
        assert one != two
        one.write_bytes(b"same")
        two.write_bytes(b"same")
    assert contents(tmp_path) == {"shard.bin": b"same"}


def test_only_drafts_that_nobody_writes_any_more_are_removed(tmp_path: Path) -> None:
    old, new, whole = tmp_path / "000001.a.tmp", tmp_path / "000002.b.tmp", tmp_path / "000003.bin"
    for path in (old, new, whole):
        path.write_bytes(b"")
    long_ago = time.time() - STALE - 1
    for path in (old, whole):
        os.utime(path, (long_ago, long_ago))
    remove_stale(tmp_path)
    assert set(contents(tmp_path)) == {new.name, whole.name}


def test_a_full_disk_leaves_the_old_text_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    write_whole(path, "steps: 6\n")
    with full_disk(), pytest.raises(OSError, match=r"config\.yaml cannot be written .*: make room and start again"):
        write_whole(path, "steps: 7\n" * 100)
    assert contents(tmp_path) == {"config.yaml": b"steps: 6\n"}


def test_a_disk_that_is_full_at_the_start_costs_a_run_neither_configuration_nor_log(
    tiny_run: DistillConfig, tmp_path: Path
) -> None:
    """Both are rewritten when a run goes on: the one may have another length, the other loses what comes again."""
    started = Fit(tiny_run, tmp_path)
    assert started.log is not None
    started.log.close()
    (tmp_path / "log.jsonl").write_text("".join(f'{{"step": {step}, "total": 1.0}}\n' for step in range(1, 8)))
    before = contents(tmp_path)
    with full_disk(), pytest.raises(OSError, match=r"config\.yaml cannot be written"):
        Fit(dataclasses.replace(tiny_run, steps=7), tmp_path)
    with full_disk(), pytest.raises(OSError, match=r"log\.jsonl cannot be written"):
        RunLog(tmp_path, 6, 2)
    assert contents(tmp_path) == before


def test_a_start_that_changes_nothing_writes_nothing(tiny_run: DistillConfig, tmp_path: Path) -> None:
    Fit(tiny_run, tmp_path)
    kept = [tmp_path / "config.yaml", tmp_path / "log.jsonl"]
    before = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in kept]
    Fit(tiny_run, tmp_path)
    assert [(path.stat().st_ino, path.stat().st_mtime_ns) for path in kept] == before
