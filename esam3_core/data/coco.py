# SPDX-License-Identifier: Apache-2.0
"""COCO: `instances_val2017.json` and a folder of pictures. Every class is annotated in every picture.

Source: https://cocodataset.org/#format-data, "Microsoft COCO: Common Objects in Context" (Lin et al., 2014).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.data.pictures import read_picture
from esam3_core.data.real import COCO_SILENT, NAMES, label_of
from esam3_core.data.rle import decode_segmentation
from esam3_core.data.saco import read_json
from esam3_core.data.sample import Label, Sample
from esam3_core.data.skips import Skips


class CocoPictures:
    """The pictures of an annotation file, those without an instance too.

    Args:
        annotations: the JSON.
        folder: of the pictures.
        skips: counts masks that could not be used.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged.
    """

    def __init__(self, annotations: Path, folder: Path, skips: Skips | None = None) -> None:
        self.folder, self.skips = Path(folder), skips or Skips()
        data = read_json(annotations, ("images", "annotations", "categories"))
        self.images: list[dict[str, Any]] = data["images"]
        self.categories: dict[int, dict[str, Any]] = {item["id"]: item for item in data["categories"]}
        self.by_image: dict[int, list[dict[str, Any]]] = {}
        for item in data["annotations"]:
            self.by_image.setdefault(item["image_id"], []).append(item)
        self.known = known_nouns(frozenset(item["name"] for item in data["categories"]))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Raises FileNotFoundError or ValueError where the picture is missing or damaged."""
        record = self.images[index]
        image = read_picture(self.path(record))
        if image.shape[:2] != (record["height"], record["width"]):
            raise ValueError(f"{self.path(record)} is of {image.shape[:2]}, its annotation of another size")
        masks: list[np.ndarray] = []
        labels: list[Label] = []
        hidden: list[Label] = []
        ignored = np.zeros(image.shape[:2], np.uint8)
        for item in self.by_image.get(record["id"], ()):
            mask = self._mask(item, image.shape[:2])
            if mask is None:
                continue
            label = self.label(record, item["category_id"])
            if item.get("iscrowd"):
                ignored |= mask
                hidden.append(label)
                continue
            masks.append(mask)
            labels.append(label)
        stacked = np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), np.uint8)
        unclear = ignored if ignored.any() else None
        key = Path(record.get("file_name", str(record["id"]))).stem
        return Sample(image, stacked, labels, unclear, self.absent(record), self.known_in(record), key, hidden)

    def path(self, record: dict[str, Any]) -> Path:
        """Where a picture lies."""
        return self.folder / str(record["file_name"])

    def label(self, record: dict[str, Any], category: int) -> Label:
        """What may be said of an instance of a category in a picture."""
        return label_of(self.categories[category]["name"])

    def known_in(self, record: dict[str, Any]) -> frozenset[str]:
        """Nouns whose every instance is annotated in a picture."""
        return self.known

    def absent(self, record: dict[str, Any]) -> tuple[str, ...]:
        """Nouns that somebody checked and found absent from a picture."""
        return ()

    def _mask(self, item: dict[str, Any], size: tuple[int, int]) -> np.ndarray | None:
        try:
            mask = decode_segmentation(item["segmentation"], size)
        except (ValueError, KeyError, TypeError) as error:
            self.skips.add("wrong segmentation", f"annotation {item.get('id')}: {error}")
            return None
        if not mask.any():
            self.skips.add("empty mask", f"annotation {item.get('id')}")
            return None
        return mask


def known_nouns(classes: frozenset[str]) -> frozenset[str]:
    """Nouns that COCO answers for: its own classes, and mugs and glasses, which it annotates as cups."""
    own = {name for phrase in classes for name in NAMES.get(phrase, ((phrase,), ()))[0]}
    return frozenset((own | ({"mug", "glass"} if "cup" in classes else set())) - COCO_SILENT)
