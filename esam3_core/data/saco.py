# SPDX-License-Identifier: Apache-2.0
"""SA-Co Gold and Silver: pictures with noun phrases, each true of all instances given or of none.

COCO-like JSON: an entry of `images` is one (picture, phrase) pair (`id`, `file_name`, `text_input`, `width`, `height`,
`is_instance_exhaustive`), an annotation (`image_id`, `segmentation`, `iscrowd`) one instance of its phrase; a pair
without an annotation is a negative. Gold has three files with the same pairs, one per annotator.
Source: https://github.com/facebookresearch/sam3/tree/main/scripts/eval/gold, "SAM 3: Segment Anything with Concepts".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.data.lacking import lacking
from esam3_core.data.pictures import read_picture
from esam3_core.data.rle import decode_segmentation
from esam3_core.data.sample import Label, Sample
from esam3_core.data.skips import Skips


@dataclass(frozen=True)
class PhrasePair:
    """A picture and a phrase, with the answer of every annotator."""

    id: int
    file_name: str
    phrase: str
    size: tuple[int, int]  # H, W in pixels
    answers: tuple[tuple[dict[str, Any], ...], ...]  # annotator -> instances, as COCO segmentations; crowds left out


class SacoPairs:
    """The pairs that a model is measured on: those that every annotator went through in full.

    Args:
        annotations: one JSON per annotator.
        folder: of the pictures.
        skips: counts pairs left out.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: it is damaged, or of another set than the first.
    """

    def __init__(self, annotations: Sequence[Path], folder: Path, skips: Skips | None = None) -> None:
        self.folder, self.skips = Path(folder), skips or Skips()
        files = [read_json(path, ("images", "annotations")) for path in annotations]
        if not files:
            raise ValueError("no annotations: name one JSON per annotator")
        for path, file in zip(annotations, files, strict=True):
            with lacking(path):
                _check_entries(file)
        partial = {item["id"] for file in files for item in file["images"] if not item["is_instance_exhaustive"]}
        instances = [_by_image(file["annotations"]) for file in files]
        everywhere = set.intersection(*({item["id"] for item in file["images"]} for file in files))
        self.pairs: list[PhrasePair] = []
        for item in files[0]["images"]:
            number = item["id"]
            if number not in everywhere:
                raise ValueError(f"pair {number} is not in every annotator's file: are they of one set?")
            if number in partial:
                self.skips.add("pair not annotated in full", f"{item['file_name']}, {item['text_input']!r}")
                continue
            size = int(item["height"]), int(item["width"])
            answers = tuple(tuple(by_image.get(number, ())) for by_image in instances)
            self.pairs.append(PhrasePair(number, item["file_name"], item["text_input"], size, answers))

    def picture(self, file_name: str) -> np.ndarray:
        """A picture, uint8 RGB [H, W, 3]."""
        return read_picture(self.folder / file_name)

    def by_picture(self) -> dict[str, list[PhrasePair]]:
        """File name -> its pairs."""
        groups: dict[str, list[PhrasePair]] = {}
        for pair in self.pairs:
            groups.setdefault(pair.file_name, []).append(pair)
        return groups


class SacoPictures:
    """The same pairs as samples, one per picture, for training: the first annotator's answers.

    A phrase of the picture is true of its own instances and denied of all others; nothing else is known.
    """

    def __init__(self, annotations: Sequence[Path], folder: Path, skips: Skips | None = None) -> None:
        self.source = SacoPairs(annotations, folder, skips)
        self.skips = self.source.skips
        self.groups = list(self.source.by_picture().items())

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Sample:
        """Raises FileNotFoundError or ValueError where the picture is missing or damaged."""
        name, pairs = self.groups[index]
        image = self.source.picture(name)
        phrases = frozenset(clean_phrase(pair.phrase) for pair in pairs)
        masks: list[np.ndarray] = []
        labels: list[Label] = []
        for pair in pairs:
            own = frozenset({clean_phrase(pair.phrase)})
            for segmentation in pair.answers[0]:
                mask = self._mask(segmentation, image.shape[:2], name)
                if mask is not None:
                    masks.append(mask)
                    labels.append(Label(own, denied=phrases - own))
        stacked = np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), np.uint8)
        said = {phrase for label in labels for phrase in label.phrases}
        absent = tuple(sorted(phrases - said))
        return Sample(image, stacked, labels, None, absent, phrases, name, checked_only=True)

    def _mask(self, segmentation: dict[str, Any], size: tuple[int, int], name: str) -> np.ndarray | None:
        try:
            mask = decode_segmentation(segmentation, size)
        except (ValueError, KeyError, TypeError) as error:
            self.skips.add("wrong RLE", f"{name}: {error}")
            return None
        if not mask.any():
            self.skips.add("empty mask", name)
            return None
        return mask


def clean_phrase(phrase: str) -> str:
    """A phrase in lower case without an article: "The fish ball" -> "fish ball"."""
    words = phrase.lower().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


def read_json(path: Path, wanted: Sequence[str]) -> dict[str, Any]:
    """An annotation file.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is damaged, or lacks one of the `wanted` fields.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: fetch the data set's annotations, or correct the name")
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): fetch it again") from error
    missing = [name for name in wanted if not isinstance(data, dict) or name not in data]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}: is it the right annotation file?")
    return dict(data)


def _check_entries(data: dict[str, Any]) -> None:
    """See that every entry has what is read of it later; KeyError for the first that has not."""
    for item in data["images"]:
        for name in ("id", "file_name", "text_input", "height", "width", "is_instance_exhaustive"):
            item[name]
    for item in data["annotations"]:
        for name in ("image_id", "segmentation"):
            item[name]


def _by_image(annotations: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = {}
    for item in annotations:
        if not item.get("iscrowd"):
            groups.setdefault(item["image_id"], []).append(item["segmentation"])
    return groups
