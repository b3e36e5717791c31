# SPDX-License-Identifier: Apache-2.0
"""One file of a cache: arrays one after another, and beside it an index with places and checksums.

The index is written last. A shard without one was not finished, whatever killed the process, and is made again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.runtime.draft import draft

Record = dict[str, np.ndarray]


class CacheError(ValueError):
    """A cache is stale, torn or incomplete; the message says what to do."""


def index_of(path: Path) -> Path:
    """Where the index of a shard lies."""
    return path.with_suffix(".json")


def write_shard(path: Path, records: Iterable[tuple[str, Record]]) -> int:
    """Write records by key; returns the bytes written. A kill in between leaves no index.

    Raises:
        OSError: the disk is full, for example; nothing of the shard is left.
    """
    entries: dict[str, Any] = {}
    offset = 0
    with draft(path) as own, own.open("wb") as file:
        for key, record in records:
            places = {}
            for name, value in record.items():
                data = np.ascontiguousarray(value).tobytes()
                places[name] = [str(value.dtype), list(value.shape), offset, len(data), zlib.crc32(data)]
                file.write(data)
                offset += len(data)
            entries[key] = places
        file.flush()
        os.fsync(file.fileno())
    with draft(index_of(path)) as own:
        own.write_text(json.dumps({"bytes": offset, "entries": entries}))
    return offset


def read_index(path: Path) -> dict[str, Any] | None:
    """Places of every record of a finished shard; None if it is not finished, or not as long as its index says."""
    try:
        index = json.loads(index_of(path).read_text())
        return index["entries"] if path.stat().st_size == index["bytes"] else None
    except (OSError, ValueError, KeyError):
        return None


def read_record(path: Path, places: dict[str, Any]) -> Record:
    """One record.

    Raises:
        CacheError: its bytes are not those that were written.
    """
    record = {}
    with path.open("rb") as file:
        for name, (kind, shape, offset, size, checksum) in places.items():
            file.seek(offset)
            data = file.read(size)
            if zlib.crc32(data) != checksum:
                raise CacheError(f"{path} is damaged at {name}: delete it and run `esam3 cache` again")
            record[name] = np.frombuffer(data, kind).reshape(shape)
    return record


def is_sound(path: Path) -> bool:
    """Whether a shard is finished and every byte of it is as written."""
    index = read_index(path)
    if index is None:
        return False
    try:
        for places in index.values():
            read_record(path, places)
    except CacheError:
        return False
    return True
