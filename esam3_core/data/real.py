# SPDX-License-Identifier: Apache-2.0
"""Real pictures with masks: `images/*.jpg` and `labels/*.json` with a phrase and a COCO RLE per instance."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

from esam3_core.data.lacking import lacking
from esam3_core.data.sample import Label, Sample
from esam3_core.scenes.vocabulary import NOUNS

NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cup": (("cup",), ("mug", "glass")),
    "bottle": (("bottle",), ("vase",)),
    "wine glass": (("wine glass", "glass"), ()),
    "wineglass": (("wine glass", "glass"), ()),  # LVIS
    "bowl": (("bowl",), ("plate",)),
    "vase": (("vase",), ("bottle", "glass")),
    "sports ball": (("sports ball", "ball"), ()),
    "mug": (("mug", "cup"), ()),
    "gelatin box": (("gelatin box", "box"), ()),
    "plate": (("plate",), ("bowl",)),
}
"""Data set phrase -> (phrases true of it, nouns that may be true of it). Others mean themselves alone."""

CUP_KINDS: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("cup_kinds.json").read_text())
"""Our own look at COCO's larger cups: picture -> place among its instances -> mug (has a handle), glass, cup."""

CUP_NAMES = {"mug": ("mug", "cup"), "glass": ("glass", "cup"), "cup": ("cup",)}

COCO_SILENT = frozenset({"can", "plate", "box"})
"""Nouns that COCO does not annotate although its pictures show them. (It annotates mugs and glasses, as cups.)"""

EVERYTHING_NAMED = frozenset({"desk_small5"})
"""Folders whose pictures hold nothing from the vocabulary but what is annotated."""


class RealFolder:
    """One folder of pictures, read lazily.

    Args:
        folder: with `images/` and `labels/`.
        split: "train", "val" (every fifth picture, by a hash of its name) or "all".

    Raises:
        FileNotFoundError: if the folder holds no labels.
    """

    def __init__(self, folder: Path, split: str = "all") -> None:
        self.folder = Path(folder)
        labels = sorted((self.folder / "labels").rglob("*.json"))
        if not labels:
            raise FileNotFoundError(f"no labels/*.json under {self.folder}: is it the right folder?")
        wanted = {"train": (False,), "val": (True,), "all": (False, True)}[split]
        self.labels = [path for path in labels if _held_out(path) in wanted]
        # Over all pictures: what a data set annotates does not depend on the split.
        self.annotated: set[str] = set()
        for path in labels:
            with lacking(path):
                self.annotated |= {item["phrase"] for item in _read(path)["instances"]}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        path = self.labels[index]
        record = _read(path)
        relative = path.relative_to(self.folder / "labels").parent
        picture = self.folder / "images" / relative / Path(record["image"]).name
        image = cv2.imread(str(picture))
        if image is None:
            raise ValueError(f"{picture} is missing or no picture: restore it or delete {path}")
        return self._sample(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), record, path.stem)

    def _sample(self, image: np.ndarray, record: dict[str, Any], key: str) -> Sample:
        height, width = image.shape[:2]
        masks: list[np.ndarray] = []
        labels: list[Label] = []
        hidden: list[Label] = []
        kinds = CUP_KINDS.get(key, {})
        ignored = np.zeros((height, width), np.uint8)
        for item in record["instances"]:
            mask = decode(item["rle"], record["size"], height, width)
            if item.get("crowd"):
                ignored |= mask
                hidden.append(label_of(item["phrase"], None))
                continue
            masks.append(mask)
            labels.append(label_of(item["phrase"], kinds.get(str(len(labels)))))
        stacked = np.stack(masks) if masks else np.zeros((0, height, width), np.uint8)
        unclear = ignored if ignored.any() else None
        return Sample(image, stacked, labels, unclear, (), self._known(), key, hidden)

    def _known(self) -> frozenset[str]:
        own = {name for phrase in self.annotated for name in NAMES.get(phrase, ((phrase,), ()))[0]}
        if self.folder.name in EVERYTHING_NAMED:
            return frozenset(own | set(NOUNS))
        if len(self.annotated) > 40:  # COCO's eighty classes
            return frozenset((own | {"mug", "glass"}) - COCO_SILENT)
        return frozenset(own)


def label_of(phrase: str, cup_kind: str | None = None) -> Label:
    """What may be said of an instance of a data set's phrase.

    Args:
        cup_kind: of a cup somebody looked at: mug, glass or cup.
    """
    if phrase == "cup" and cup_kind is not None:
        return Label(frozenset(CUP_NAMES[cup_kind]))
    sure, maybe = NAMES.get(phrase, ((phrase,), ()))
    return Label(frozenset(sure), frozenset(maybe))


def decode(counts: str, size: list[int], height: int, width: int) -> np.ndarray:
    """COCO compressed RLE -> uint8 [height, width], scaled by nearest neighbour if `size` [h, w] differs."""
    mask = coco.decode({"size": size, "counts": counts.encode()})
    if mask.shape != (height, width):
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST)
    return mask


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): restore it, or delete it") from error


def _held_out(path: Path) -> bool:
    return zlib.crc32(path.stem.encode()) % 5 == 0
