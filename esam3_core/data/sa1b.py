# SPDX-License-Identifier: Apache-2.0
"""SA-1B: pictures with masks that have no names, in the tar files that Meta ships (`sa_000000.tar` ...).

Each tar holds pairs `sa_N.jpg`, `sa_N.json`; the JSON has `image` (image_id, width, height, file_name) and
`annotations` (segmentation as COCO RLE, bbox x y w h, area, predicted_iou, stability_score, point_coords, crop_box).
Source: https://ai.meta.com/datasets/segment-anything, "Segment Anything" (Kirillov et al., 2023), section 5.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from esam3_core.data.pictures import decode_picture
from esam3_core.data.rle import decode_segmentation
from esam3_core.data.sample import Label, Sample
from esam3_core.data.scenes import read_parts
from esam3_core.data.skips import Skips

PARTS = (".jpg", ".json")
LARGEST = 64  # masks of a picture that are used: its largest ones (SA-1B has 100 on average, most of them tiny)
SIDE = 1024  # pixels, longer side at which a sample is given: SA-1B's pictures have 1500 x 2250
NAMELESS = Label(frozenset())


class Sa1bShards:
    """All pictures of the tar files of a folder, with random access.

    Opening reads the headers of every tar, not what is in it. A torn tar gives what lies before the tear.

    Args:
        folder: with `sa_*.tar`.
        skips: counts what was left out.

    Raises:
        FileNotFoundError: the folder holds no tar.
    """

    def __init__(self, folder: Path, skips: Skips | None = None) -> None:
        self.skips = skips or Skips()
        self.entries: list[tuple[Path, str, dict[str, tuple[int, int]]]] = []
        for shard in find_shards(folder):
            self.entries += [(shard, key, places) for key, places in _index(shard, self.skips)]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        """Raises ValueError if the picture or its JSON is damaged."""
        shard, key, places = self.entries[index]
        return read_pair(key, read_parts(shard, places), self.skips)


def stream(shards: Iterable[Path], skips: Skips) -> Iterator[Sample]:
    """Every sample of the tar files, each read once from front to back: pipes and remote disks will do.

    What is damaged is skipped and counted; nothing else is lost.
    """
    for shard in shards:
        try:
            with tarfile.open(shard, "r|") as tar:
                yield from _pairs(tar, skips)
        except (tarfile.TarError, EOFError, OSError) as error:
            skips.add("torn tar", f"{shard}: {error}; fetch it again")


def find_shards(folder: Path) -> list[Path]:
    """The tar files of a folder, sorted; FileNotFoundError if there is none."""
    shards = sorted(Path(folder).glob("*.tar"))
    if not shards:
        raise FileNotFoundError(f"no *.tar in {folder}: give the folder that holds sa_000000.tar and so on")
    return shards


def read_pair(key: str, data: dict[str, bytes], skips: Skips) -> Sample:
    """One picture and its JSON as a sample; masks that are wrong or empty are counted and left out.

    Raises:
        ValueError: the picture or the JSON is damaged, or they do not belong together.
    """
    image = decode_picture(data[".jpg"], key)
    try:
        record = json.loads(data[".json"])
        annotations, declared = record["annotations"], record["image"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the JSON of {key} is damaged ({error}): fetch its tar again") from error
    size = image.shape[:2]
    if (declared.get("height"), declared.get("width")) != size:
        raise ValueError(f"{key} is a picture of {size}, its JSON speaks of {declared}: they do not belong together")
    scale = min(1.0, SIDE / max(size))
    small = (round(size[1] * scale), round(size[0] * scale))  # width, height
    ordered = sorted(annotations, key=lambda item: -item.get("area", 0))[:LARGEST]
    masks = [mask for item in ordered if (mask := _mask(item, size, small, key, skips)) is not None]
    stacked = np.stack(masks) if masks else np.zeros((0, small[1], small[0]), np.uint8)
    picture = cv2.resize(image, small, interpolation=cv2.INTER_AREA) if scale < 1 else image
    labels = [NAMELESS] * len(masks)
    return Sample(np.asarray(picture, np.uint8), stacked, labels, None, (), frozenset(), key, checked_only=True)


def _mask(
    item: dict[str, Any], size: tuple[int, int], small: tuple[int, int], key: str, skips: Skips
) -> np.ndarray | None:
    try:
        mask = decode_segmentation(item["segmentation"], size)
    except (ValueError, KeyError, TypeError) as error:
        skips.add("wrong RLE", f"{key}: {error}")
        return None
    if small != (size[1], size[0]):
        mask = np.asarray(cv2.resize(mask, small, interpolation=cv2.INTER_NEAREST), np.uint8)
    if not mask.any():
        skips.add("empty mask", key)
        return None
    return mask


def _pairs(tar: tarfile.TarFile, skips: Skips) -> Iterator[Sample]:
    """Samples of a tar whose members come in pairs, in either order."""
    waiting: dict[str, dict[str, bytes]] = {}
    try:
        for member in tar:
            path = PurePosixPath(member.name)
            file = tar.extractfile(member) if path.suffix in PARTS and member.isfile() else None
            if file is None:
                continue
            parts = waiting.setdefault(path.stem, {})
            parts[path.suffix] = file.read()
            if len(parts) == len(PARTS):
                yield from _one(path.stem, waiting.pop(path.stem), skips)
    finally:
        for key in waiting:
            skips.add("half a pair", f"{key} lacks its picture or its JSON")


def _one(key: str, data: dict[str, bytes], skips: Skips) -> Iterator[Sample]:
    try:
        yield read_pair(key, data, skips)
    except ValueError as error:
        skips.add("damaged picture or JSON", error)


def _index(shard: Path, skips: Skips) -> list[tuple[str, dict[str, tuple[int, int]]]]:
    """Key, and offset and size of each part, of every whole pair of a tar."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    end = shard.stat().st_size
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.suffix in PARTS and member.offset_data + member.size <= end:
                    found.setdefault(path.stem, {})[path.suffix] = (member.offset_data, member.size)
    except (tarfile.TarError, EOFError) as error:
        skips.add("torn tar", f"{shard}: {error}; fetch it again")
    whole = [(key, places) for key, places in sorted(found.items()) if len(places) == len(PARTS)]
    for _ in range(len(found) - len(whole)):
        skips.add("half a pair", shard)
    return whole
