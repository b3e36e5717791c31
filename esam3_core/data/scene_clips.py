# SPDX-License-Identifier: Apache-2.0
"""Rendered worlds as clips: the frames of one world, in order, from its shard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from esam3_core.config import SceneConfig
from esam3_core.data.clip import Clip
from esam3_core.data.pictures import decode_picture
from esam3_core.data.sample import Label
from esam3_core.data.scenes import MIN_PIXELS, SceneShards, read_parts
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.preprocess import Image

Entry = tuple[Path, dict[str, tuple[int, int]]]


class SceneClips:
    """The worlds of a folder of shards, each a clip.

    Args:
        folder: of shards rendered with `--frames N --fps 15`.

    Raises:
        FileNotFoundError: the folder holds no shard.
        ValueError: no world has two frames.
    """

    def __init__(self, folder: Path) -> None:
        worlds: dict[tuple[Path, int], list[tuple[int, Entry, dict[str, Any]]]] = {}
        for shard, parts in SceneShards(folder).entries:
            record = json.loads(read_parts(shard, {"json": parts["json"]})["json"])
            worlds.setdefault((shard, record["scene"]), []).append((record["frame"], (shard, parts), record))
        self.worlds = [sorted(frames, key=lambda item: item[0]) for frames in worlds.values() if len(frames) > 1]
        if not self.worlds:
            raise ValueError(f"no world in {folder} has two frames: render clips with --frames 60 --fps 15")
        manifest = Path(folder) / "scenes.json"
        stored = json.loads(manifest.read_text())["config"] if manifest.is_file() else {}
        self.rate = float(stored.get("fps", SceneConfig().fps))

    def __len__(self) -> int:
        return len(self.worlds)

    def __getitem__(self, index: int) -> Clip:
        """A world. Objects keep their ids; what shows fewer than MIN_PIXELS pixels in a frame does not show."""
        frames = self.worlds[index]
        entries = [entry for _, entry, _ in frames]
        records = [record for _, _, record in frames]
        instances = {item["id"]: item for record in records for item in record["instances"]}
        labels = {number: Label(frozenset(item["phrases"]), attributed=True) for number, item in instances.items()}
        said = {phrase for label in labels.values() for phrase in label.phrases}
        absent = tuple(sorted({phrase for record in records for phrase in record["absent"]} - said))

        def masks(place: int) -> Mapping[int, CroppedMask]:
            shard, parts = entries[place]
            data = read_parts(shard, {"ids.png": parts["ids.png"]})["ids.png"]
            ids = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            crops = {item["id"]: CroppedMask.from_full(np.asarray(ids == item["id"]))
                     for item in records[place]["instances"]}  # fmt: skip
            return {number: crop for number, crop in crops.items() if crop.area >= MIN_PIXELS}

        key = records[0]["key"]
        return Clip(key, _ShardFrames(entries), self.rate, tuple(range(len(frames))), masks, labels, absent)


class _ShardFrames:
    """Pictures in a shard."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, indices: Sequence[int]) -> Iterator[Image]:
        """See `Frames.read`."""
        for index in indices:
            shard, parts = self.entries[index]
            yield decode_picture(read_parts(shard, {"jpg": parts["jpg"]})["jpg"], f"frame {index} of {shard}")
