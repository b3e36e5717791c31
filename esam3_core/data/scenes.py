# SPDX-License-Identifier: Apache-2.0
"""Rendered scenes from WebDataset tar shards, with random access."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import cv2
import numpy as np

from esam3_core.data.sample import Label, Sample

MIN_VISIBLE = 0.25  # share of an object that must show before it can be asked for
MIN_PIXELS = 40  # pixels of the rendered frame


class SceneShards:
    """All samples of the tar shards of a folder.

    Raises:
        FileNotFoundError: if the folder holds no shard.
        ValueError: if one is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.entries: list[tuple[Path, dict[str, tuple[int, int]]]] = []
        shards = sorted(Path(folder).glob("*.tar"))
        if not shards:
            raise FileNotFoundError(f"no *.tar in {folder}: render scenes with `esam3 scenes render {folder}`")
        for shard in shards:
            self.entries += [(shard, parts) for parts in _index(shard)]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        shard, parts = self.entries[index]
        data = read_parts(shard, {name: place for name, place in parts.items() if name != "depth.png"})
        record = json.loads(data["json"])
        image = cv2.cvtColor(_picture(data["jpg"], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        ids = _picture(data["ids.png"], cv2.IMREAD_UNCHANGED)
        masks, labels, hidden = [], [], []
        ignored = np.zeros(ids.shape, np.uint8)
        for item in record["instances"]:
            mask = (ids == item["id"]).astype(np.uint8)
            label = Label(frozenset(item["phrases"]), frozenset(), attributed=True)
            if item["visible"] < MIN_VISIBLE or mask.sum() < MIN_PIXELS:
                hidden.append(label)
                ignored |= mask
                continue
            masks.append(mask)
            labels.append(label)
        stacked = np.stack(masks) if masks else np.zeros((0, *ids.shape), np.uint8)
        absent = tuple(record["absent"])
        return Sample(image, stacked, labels, ignored, absent, None, record["key"], hidden)


def _index(shard: Path) -> list[dict[str, tuple[int, int]]]:
    """Offset and size of every part of every sample of a shard."""
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(shard) as tar:
            for member in tar:
                key, _, part = member.name.partition(".")
                samples.setdefault(key, {})[part] = (member.offset_data, member.size)
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{shard} is damaged ({error}): render it again, or delete it") from error
    return [parts for _, parts in sorted(samples.items())]


def read_parts(shard: Path, places: dict[str, tuple[int, int]]) -> dict[str, bytes]:
    """Parts of a sample, by name, from their offset and size in a shard."""
    data = {}
    with shard.open("rb") as file:
        for name, (offset, size) in places.items():
            file.seek(offset)
            data[name] = file.read(size)
    return data


def _picture(data: bytes, flag: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    if image is None:
        raise ValueError("a picture of the shard is damaged: render the shard again")
    return image
