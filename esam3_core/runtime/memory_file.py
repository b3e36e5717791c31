# SPDX-License-Identifier: Apache-2.0
"""Memory that lasts: tracks, their ids and what is searched for, in a safetensors file.

A file is whole or it is refused: its own checksum tells. It belongs to one bundle, because latents mean nothing to
another.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.draft import draft
from esam3_core.runtime.errors import MemoryFileError
from esam3_core.runtime.exemplars import Shown
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.memory_roster import MemoryRoster
from esam3_core.runtime.memory_track import MemoryTrack
from esam3_core.runtime.search import Search

FORMAT = 1  # raised when an older runtime could not read a newer file
SHOWN = "exemplar."  # prefix of the arrays that hold exemplars
LOOK = "look."  # of those that hold how a shown object looked; files of before there were any have none
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class SavedMemory:
    """What a file holds."""

    bundle: str  # digest
    bundle_name: str
    concepts: tuple[str, ...]
    shown: dict[str, Shown]
    tracks: list[dict[str, Any]]  # by row of `memory`
    looks: dict[int, Shown]  # id -> how a user showed it
    memory: dict[str, Array]  # of `MemoryBank.export`
    last_id: int

    @classmethod
    def of(cls, roster: MemoryRoster, searched: Search, bundle: Bundle) -> SavedMemory:
        """What is remembered now; tracks that have no id yet are left out."""
        tracks = roster.confirmed
        memory = roster.bank.export([track.key for track in tracks])
        records = [_record(track, tracks) for track in tracks]
        shown = dict(searched.shown)
        looks = {track.id: track.look for track in tracks if track.look}
        return cls(bundle.digest, bundle.name, searched.concepts, shown, records, looks, memory, roster.last_id)

    def restore(self, roster: MemoryRoster) -> None:
        """Let a roster go on with these tracks instead of its own.

        Raises:
            MemoryFileError: they do not fit; nothing changes.
        """
        try:
            roster.bank.check(self.memory)
        except ValueError as error:
            raise MemoryFileError(f"the memory does not fit this tracker: {error}") from error
        roster.clear()
        keys = roster.bank.restore(self.memory)
        key_of = {record["id"]: key for record, key in zip(self.tracks, keys, strict=True)}
        roster.resume([_track(record, key_of, self.looks) for record in self.tracks], self.last_id)


def write_memory(path: Path, saved: SavedMemory) -> None:
    """Write a file whole or not at all.

    Raises:
        MemoryFileError: it cannot be written; one that was there before is unharmed.
    """
    from safetensors.numpy import save

    names = list(saved.shown)
    shown = {f"{SHOWN}{row}": saved.shown[name].tokens for row, name in enumerate(names)}
    looks = {f"{LOOK}{number}": look.tokens for number, look in saved.looks.items()}
    header = {
        "format": FORMAT,
        "bundle": saved.bundle,
        "bundle_name": saved.bundle_name,
        "concepts": list(saved.concepts),
        "shown": [[name, saved.shown[name].named] for name in names],
        "tracks": saved.tracks,
        "last_id": saved.last_id,
    }
    text = json.dumps(header)
    arrays = {name: np.ascontiguousarray(array) for name, array in {**saved.memory, **shown, **looks}.items()}
    data = save(arrays, {"esam3": text, "sha256": _digest(text, arrays)})
    try:
        _replace(path, data)
    except OSError as error:
        raise MemoryFileError(
            f"{path} cannot be written ({error.strerror or error}), nothing was changed: give another path or make room"
        ) from error


def read_memory(path: Path, bundle: Bundle) -> SavedMemory:
    """What a file holds, if it is whole and belongs to `bundle`.

    Raises:
        MemoryFileError: it is missing, damaged, or of another bundle.
    """
    header, arrays = _read(path)
    if header["bundle"] != bundle.digest:
        raise MemoryFileError(
            f"{path} was saved with the bundle {header['bundle_name']} ({header['bundle'][:12]}), not with this "
            f"{bundle.name} ({bundle.digest[:12]}): load it where that one runs"
        )
    shown = {
        name: Shown(arrays.pop(f"{SHOWN}{row}"), named) for row, (name, named) in enumerate(header["shown"])
    }
    looks = {record["id"]: f"{LOOK}{record['id']}" for record in header["tracks"]}
    return SavedMemory(
        header["bundle"],
        header["bundle_name"],
        tuple(header["concepts"]),
        shown,
        header["tracks"],
        {number: Shown(arrays.pop(name), named=False) for number, name in looks.items() if name in arrays},
        arrays,
        header["last_id"],
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MemoryFileError(f"{path} does not exist: give the file that was saved")
    try:
        with safe_open(path, "numpy") as file:
            notes = file.metadata() or {}
            text = notes.get("esam3")
            if text is None:
                raise MemoryFileError(f"{path} holds other arrays than a memory: give a file that was saved by esam3")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no dict
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:  # the last two: unknown types
        raise MemoryFileError(f"{path} is not a memory file, or it is damaged ({error}): save it again") from error
    if notes.get("sha256") != _digest(text, arrays):
        raise MemoryFileError(f"{path} does not match its own checksum, it was changed or damaged: save it again")
    header = json.loads(text)
    if header["format"] != FORMAT:
        raise MemoryFileError(f"{path} has format {header['format']}, this esam3 reads {FORMAT}: save it again")
    return header, arrays


def _replace(path: Path, data: bytes) -> None:
    """Put `data` where `path` is in one step, after it has reached the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with draft(path) as own, own.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _digest(text: str, arrays: dict[str, Array]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _record(track: MemoryTrack, tracks: list[MemoryTrack]) -> dict[str, Any]:
    return {
        "id": track.id,
        "concept": track.concept,
        "score": track.score,
        "box": list(track.box),
        "frame": list(track.crop.size),
        "followed": track.followed,
        "hits": track.hits,
        "first_seen": track.first_seen,
        "last_seen": track.last_seen,
        "beside": [other.id for other in tracks if other.key in track.beside],
    }


def _track(record: dict[str, Any], key_of: Mapping[int, int], looks: Mapping[int, Shown]) -> MemoryTrack:
    x, y, width, height = record["box"]
    track = MemoryTrack(
        concept=record["concept"],
        score=record["score"],
        box=(x, y, width, height),
        crop=CroppedMask.empty((record["frame"][0], record["frame"][1])),
        first_seen=record["first_seen"],
        last_seen=record["last_seen"],
        detected_at=record["last_seen"],
        diagonal=float(np.hypot(width, height)),
        hits=record["hits"],
        id=record["id"],
        look=looks.get(record["id"]),
    )
    track.key, track.followed = key_of[record["id"]], record["followed"]
    track.beside = {key_of[other] for other in record["beside"]}
    track.visible, track.announced, track.restored = False, True, True
    return track
