# SPDX-License-Identifier: Apache-2.0
"""DAVIS 2017: `JPEGImages/480p/SEQ/00000.jpg`, `Annotations/480p/SEQ/00000.png` (object numbers; 255 = void) and
`ImageSets/2017/val.txt`. DAVIS 2016 and MOSE have the same layout (one without `480p`).

Source: https://davischallenge.org, "The 2017 DAVIS Challenge on Video Object Segmentation" (Pont-Tuset et al.).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from esam3_core.data.clip import Clip, FrameFiles
from esam3_core.data.pictures import read_indices
from esam3_core.data.sample import Label
from esam3_core.runtime.masks import CroppedMask

VOID = 255
RATE = 24.0  # frames/s


class DavisSequences:
    """The sequences of a part, in the order of its list.

    Args:
        root: with JPEGImages, Annotations and ImageSets.
        part: name of a list in ImageSets/2017: train, val ...
        resolution: folder inside JPEGImages and Annotations; "" if there is none.

    Raises:
        FileNotFoundError: the list is missing.
    """

    def __init__(self, root: Path, part: str = "val", resolution: str = "480p") -> None:
        self.root, self.resolution = Path(root), resolution
        listed = self.root / "ImageSets" / "2017" / f"{part}.txt"
        if not listed.is_file():
            raise FileNotFoundError(f"{listed} is missing: give DAVIS's folder, with JPEGImages and ImageSets in it")
        self.names = listed.read_text().split()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        """Raises FileNotFoundError where pictures or annotations are missing."""
        name = self.names[index]
        pictures = sorted((self.root / "JPEGImages" / self.resolution / name).glob("*.jpg"))
        annotations = sorted((self.root / "Annotations" / self.resolution / name).glob("*.png"))
        return indexed_clip(name, pictures, annotations, RATE)


def indexed_clip(name: str, pictures: list[Path], annotations: list[Path], rate: float) -> Clip:
    """A clip whose masks are indexed PNGs named like their pictures.

    Its objects are those of the first annotated frame, as DAVIS has it.

    Raises:
        FileNotFoundError: there are no pictures, or no annotation of them.
    """
    by_name = {path.stem: path for path in annotations}
    annotated = tuple(i for i, path in enumerate(pictures) if path.stem in by_name)
    if not annotated:
        raise FileNotFoundError(
            f"sequence {name} has {len(pictures)} pictures and {len(annotations)} masks that fit them: fetch it again"
        )
    files = [by_name.get(path.stem) for path in pictures]

    def numbers(index: int) -> NDArray[np.uint8]:
        path = files[index]
        if path is None:
            raise ValueError(f"frame {index} of {name} has no annotation: ask for annotated frames only")
        return read_indices(path)

    def masks(index: int) -> Mapping[int, CroppedMask]:
        return split_numbers(numbers(index))

    first = numbers(annotated[0])
    objects = range(1, int(first[first != VOID].max(initial=0)) + 1)
    labels = {number: Label(frozenset()) for number in objects}
    return Clip(name, FrameFiles(pictures), rate, annotated, masks, labels, void=lambda index: numbers(index) == VOID)


def split_numbers(numbers: NDArray[np.uint8]) -> dict[int, CroppedMask]:
    """Object numbers [H, W] -> object -> mask; background and void are no objects."""
    there = [int(number) for number in np.unique(numbers) if number not in (0, VOID)]
    return {number: CroppedMask.from_full(numbers == number) for number in there}
