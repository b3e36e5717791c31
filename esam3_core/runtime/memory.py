# SPDX-License-Identifier: Apache-2.0
"""The memory bank: what every track remembers, in arrays that are made once and never grow (docs/memory.md).

A track is known by its key, which is never given to another track; the row of the arrays that it happens to use is
nobody else's business and is used again once the track is closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.config import MemoryConfig
from esam3_core.runtime.buckets import padded

Array = NDArray[Any]


@dataclass(frozen=True)
class MemoryShape:
    """The sizes of a bank."""

    anchors: int  # slots of each row that are written once
    ring: int  # slots that are written over, the oldest first
    tokens: int  # L, latents per slot
    width: int  # m, channels of a latent
    pointers: int  # P, object pointers per row
    pointer_width: int  # d, channels of a pointer

    @classmethod
    def of(cls, config: MemoryConfig, size: int, width: int, cell: int = 16) -> MemoryShape:
        """The sizes of a student with `size` S in pixels, d = `width` and cells of `cell` pixels (`config.STRIDES`)."""
        return cls(config.anchors, config.ring, config.tokens(size, cell), config.width, config.pointers, width)

    @property
    def slots(self) -> int:
        """M, frames a track remembers at most."""
        return self.anchors + self.ring

    @property
    def kept_pointers(self) -> int:
        """Pointers that stay for good: those of the anchors, as long as the ring of pointers has a place left."""
        return min(self.anchors, self.pointers - 1)

    @property
    def bytes_per_track(self) -> int:
        """Bytes that one track occupies."""
        latents = self.slots * (self.tokens * self.width * 4 + 8 + 1)
        return latents + self.pointers * (self.pointer_width * 4 + 8 + 1)


class MemoryBank:
    """Latents and object pointers of up to `rows` tracks.

    Slots 0..anchors-1 of a row are written once, the others in turn; the same holds for pointers. Nothing in here
    grows: not with time, not with the number of tracks.
    """

    def __init__(self, shape: MemoryShape, rows: int) -> None:
        """Allocate everything.

        Raises:
            ValueError: `rows` is below 1.
        """
        if rows < 1:
            raise ValueError(f"a memory bank needs at least one row, not {rows}: raise max_tracks")
        self.shape = shape
        self.rows = rows
        m, p = shape.slots, shape.pointers
        self._latents = np.zeros((rows, m, shape.tokens, shape.width), np.float32)  # [N, M, L, m]
        self._order = np.zeros((rows, m), np.int64)  # number of the write that filled a slot of the ring, from 0
        self._used = np.zeros((rows, m), np.bool_)
        self._pointers = np.zeros((rows, p, shape.pointer_width), np.float32)  # [N, P, d]
        self._pointer_frame = np.zeros((rows, p), np.int64)  # frame in which a pointer was written
        self._pointer_used = np.zeros((rows, p), np.bool_)
        self._writes = np.zeros((rows, 2), np.int64)  # frames written into the ring, pointers into theirs
        self._free = list(range(rows))[::-1]
        self._row: dict[int, int] = {}
        self._next_key = 1
        self._frame = 0

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, key: int) -> bool:
        return key in self._row

    @property
    def full(self) -> bool:
        """Whether no further track can be opened."""
        return not self._free

    def open(self) -> int:
        """Make room for a track that remembers nothing yet; its key.

        Raises:
            ValueError: every row is taken.
        """
        if not self._free:
            raise ValueError(f"all {self.rows} rows of the memory are taken: close a track, or raise max_tracks")
        key, row = self._next_key, self._free.pop()
        self._next_key += 1
        self._row[key] = row
        for array in (self._latents, self._order, self._used, self._pointers, self._pointer_frame, self._pointer_used):
            array[row] = 0
        self._writes[row] = 0
        return key

    def close(self, key: int) -> None:
        """Forget a track."""
        self._free.append(self._row.pop(key))

    def tick(self) -> None:
        """Pass on to the next frame: every pointer becomes one frame older."""
        self._frame += 1

    @property
    def frame(self) -> int:
        """Frames so far."""
        return self._frame

    def anchored(self, key: int) -> int:
        """How many anchors a track has."""
        return int(self._used[self._row[key], : self.shape.anchors].sum())

    def remembers(self, key: int) -> bool:
        """Whether anything was written for a track."""
        return bool(self._used[self._row[key]].any())

    def write(self, key: int, latents: Array, anchor: bool = False) -> None:
        """Remember this frame of a track.

        Args:
            latents: [L, m]. Ones that are not finite are refused: they would spoil every later frame.
            anchor: keep it for good if an anchor is free; else it goes into the ring as any other frame.

        Raises:
            ValueError: the array has another shape, or holds a value that is not finite; nothing is written.
        """
        row, shape = self._row[key], self.shape
        _check("latents", latents, (shape.tokens, shape.width))
        taken = self.anchored(key)
        if anchor and taken < shape.anchors:
            slot = taken
        else:
            slot = shape.anchors + int(self._writes[row, 0]) % shape.ring
            self._order[row, slot] = self._writes[row, 0]
            self._writes[row, 0] += 1
        self._latents[row, slot], self._used[row, slot] = latents, True

    def point(self, key: int, pointer: Array, anchor: bool = False) -> None:
        """Remember the object pointer [d] that a track has in this frame; see `write`."""
        row, shape = self._row[key], self.shape
        _check("pointer", pointer, (shape.pointer_width,))
        kept = shape.kept_pointers
        taken = int(self._pointer_used[row, :kept].sum())
        if anchor and taken < kept:
            place = taken
        else:
            place = kept + int(self._writes[row, 1]) % (shape.pointers - kept)
            self._writes[row, 1] += 1
        self._pointers[row, place], self._pointer_used[row, place] = pointer, True
        self._pointer_frame[row, place] = self._frame

    def read(self, keys: Sequence[int], rows: int) -> dict[str, Array]:
        """What the propagator reads of some tracks, padded to `rows` with tracks that remember nothing.

        Returns:
            `memory` [T, M, L, m], `memory_age` [T, M] (0 = anchor, 1.. = how many written frames ago), `memory_used`
            [T, M], `pointers` [T, P, d], `pointer_age` [T, P] (frames ago), `pointer_used` [T, P]; T = `rows`.
        """
        at = np.array([self._row[key] for key in keys], np.int64)
        age = self._writes[at, :1] - self._order[at]  # [T, M]
        age[:, : self.shape.anchors] = 0
        used, pointer_used = self._used[at], self._pointer_used[at]
        pointer_age = (self._frame - self._pointer_frame[at]).astype(np.float32)
        values = {
            "memory": self._latents[at],
            "memory_age": np.where(used, age, 0),
            "memory_used": used,
            "pointers": self._pointers[at],
            "pointer_age": np.where(pointer_used, pointer_age, np.float32(0)),
            "pointer_used": pointer_used,
        }
        return {name: padded(value, rows) for name, value in values.items()}

    def export(self, keys: Sequence[int]) -> dict[str, Array]:
        """Everything that is remembered of some tracks, for a file; `restore` takes it."""
        at = np.array([self._row[key] for key in keys], np.int64)
        return {
            "latents": self._latents[at],
            "order": self._order[at],
            "used": self._used[at],
            "pointers": self._pointers[at],
            "pointer_age": self._frame - self._pointer_frame[at],
            "pointer_used": self._pointer_used[at],
            "writes": self._writes[at],
        }

    def restore(self, values: dict[str, Array]) -> list[int]:
        """Open a track for each row of what `export` gave; their keys.

        Raises:
            ValueError: an array is missing or of another shape, or there are too few free rows; nothing changes.
        """
        count = self.check(values)
        if count > len(self._free):
            raise ValueError(f"{count} tracks do not fit into {len(self._free)} free rows: raise max_tracks")
        keys = [self.open() for _ in range(count)]
        at = np.array([self._row[key] for key in keys], np.int64)
        for name, array in self._arrays().items():
            array[at] = self._frame - values[name] if name == "pointer_age" else values[name]
        return keys

    def check(self, values: dict[str, Array]) -> int:
        """Whether `restore` could take these arrays into an empty bank; how many tracks they hold.

        Raises:
            ValueError: an array is missing or of another shape, or there are more tracks than rows.
        """
        count = len(values.get("latents", ()))
        for name, array in self._arrays().items():
            _check(name, values.get(name, np.zeros(0)), (count, *array.shape[1:]))
        if count > self.rows:
            raise ValueError(
                f"{count} tracks do not fit into {self.rows} rows: raise max_tracks (of the node, or of TrackerConfig)"
            )
        return count

    def _arrays(self) -> dict[str, Array]:
        return {
            "latents": self._latents,
            "order": self._order,
            "used": self._used,
            "pointers": self._pointers,
            "pointer_age": self._pointer_frame,
            "pointer_used": self._pointer_used,
            "writes": self._writes,
        }


def _check(name: str, array: Array, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {list(array.shape)}, this memory takes {list(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite")
