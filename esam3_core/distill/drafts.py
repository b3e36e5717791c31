# SPDX-License-Identifier: Apache-2.0
"""Drafts of files in folders that several processes fill, and text files that are written whole."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

from esam3_core.runtime.draft import draft

STALE = 3600.0  # s without a write after which a draft belongs to nobody any more


def remove_stale(folder: Path) -> None:
    """Delete the drafts that killed processes left behind, and not those that are being written."""
    for torn in folder.glob("*.tmp"):
        try:
            if time.time() - torn.stat().st_mtime > STALE:
                torn.unlink()
        except FileNotFoundError:
            pass  # finished, or removed by another process


def own_order(numbers: Sequence[int]) -> list[int]:
    """What is to be made, in an order that no other process has, whatever seeds they share: two that work on the same
    list, and look what is there by now before each, then hardly ever make the same."""
    return random.SystemRandom().sample(numbers, len(numbers))


def write_whole(path: Path, text: str) -> None:
    """Write a text file; a kill or a full disk leaves what was there before. What is the same is not written again.

    Raises:
        OSError: it cannot be written.
    """
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return
    try:
        with draft(path) as own, own.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(
            f"{path} cannot be written ({error}): make room and start again; what was there before is whole"
        ) from error
