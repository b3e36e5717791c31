# SPDX-License-Identifier: Apache-2.0
"""SA-V: videos at 24 frames/s with masklets at 6 frames/s.

Training part: `{id}.mp4` beside `{id}_manual.json` and `{id}_auto.json`, in folders `sav_000` ...; `masklet` is a list
over annotated frames (every fourth of the video) of a list over objects of COCO RLEs. Validation and test part:
`JPEGImages_24fps/{id}/00000.jpg`, `Annotations_6fps/{id}/{object}/00000.png`, one mask a file since objects overlap.
Source: https://github.com/facebookresearch/sam2/tree/main/sav_dataset, "SAM 2" (Ravi et al., 2024).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esam3_core.data.clip import Clip, FrameFiles, VideoFile
from esam3_core.data.pictures import read_indices
from esam3_core.data.rle import decode_segmentation
from esam3_core.data.sample import Label
from esam3_core.data.skips import Skips
from esam3_core.runtime.masks import CroppedMask

RATE, ANNOTATED_EVERY = 24.0, 4  # frames/s of the videos; frames from one annotated frame to the next
KINDS = ("manual", "auto")


class SavVideos:
    """The training part.

    Args:
        folder: searched for `*_manual.json` (and `*_auto.json`) beside their videos, at any depth.
        kinds: which masklets: "manual", "auto" or both.
        skips: counts masks that could not be used.

    Raises:
        FileNotFoundError: there is no such file.
    """

    def __init__(self, folder: Path, kinds: Sequence[str] = ("manual",), skips: Skips | None = None) -> None:
        unknown = set(kinds) - set(KINDS)
        if unknown:
            raise ValueError(f"SA-V has no masklets {', '.join(sorted(unknown))}: choose from {', '.join(KINDS)}")
        self.kinds, self.skips = tuple(kinds), skips or Skips()
        found = {path.with_name(path.stem[: -len(kind) - 1] + ".mp4")
                 for kind in kinds for path in Path(folder).rglob(f"*_{kind}.json")}  # fmt: skip
        self.videos = sorted(found)
        if not self.videos:
            raise FileNotFoundError(f"no *_{kinds[0]}.json under {folder}: give the folder with sav_000 and so on")

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Clip:
        """Raises ValueError for a damaged JSON, FileNotFoundError where the video is missing."""
        video = self.videos[index]
        read = (self._record(video, kind) for kind in self.kinds)
        records = [record for record in read if record is not None]
        frames = VideoFile(video, int(records[0]["video_frame_count"]))
        count = max(len(record["masklet"]) for record in records)
        # Masklets reach to the last multiple of four, which a video cut short may no longer have.
        annotated = tuple(i * ANNOTATED_EVERY for i in range(count) if i * ANNOTATED_EVERY < len(frames))
        size = int(records[0]["video_height"]), int(records[0]["video_width"])
        objects = [(record, place) for record in records for place in range(len(record["masklet_id"]))]

        def masks(index: int) -> Mapping[int, CroppedMask]:
            place = index // ANNOTATED_EVERY
            found = {number: self._mask(record, place, column, size, video.stem)
                     for number, (record, column) in enumerate(objects, start=1)}  # fmt: skip
            return {number: crop for number, crop in found.items() if crop is not None and crop.area}

        labels = {number: Label(frozenset()) for number in range(1, len(objects) + 1)}
        return Clip(video.stem, frames, RATE, annotated, masks, labels)

    def _record(self, video: Path, kind: str) -> dict[str, Any] | None:
        path = video.with_name(f"{video.stem}_{kind}.json")
        if not path.is_file():
            return None  # one video in twenty has no automatic masklets
        try:
            record: dict[str, Any] = json.loads(path.read_text())
        except ValueError as error:
            raise ValueError(f"{path} is damaged ({error}): fetch it again") from error
        wanted = {"masklet", "masklet_id", "video_frame_count", "video_height", "video_width"}
        if wanted - set(record):
            raise ValueError(f"{path} lacks {', '.join(sorted(wanted - set(record)))}: is it a masklet file of SA-V?")
        return record

    def _mask(
        self, record: dict[str, Any], place: int, column: int, size: tuple[int, int], key: str
    ) -> CroppedMask | None:
        try:
            row = record["masklet"][place]
            return CroppedMask.from_full(decode_segmentation(row[column], size).astype(bool))
        except IndexError:
            return None  # objects that appear late have no entry before
        except (ValueError, KeyError, TypeError) as error:
            self.skips.add("wrong RLE", f"{key}, annotated frame {place}: {error}")
            return None


class SavFrames:
    """The validation or test part, as frames and one PNG per object.

    Objects are numbered from 1 in the order of their folders, whose names begin at 000: in masks packed into one PNG,
    0 is background.

    Args:
        folder: with `JPEGImages_24fps` and `Annotations_6fps`, and a list `sav_val.txt` or `sav_test.txt`.

    Raises:
        FileNotFoundError: a folder is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        listed = sorted(self.folder.glob("sav_*.txt"))
        annotations = self.folder / "Annotations_6fps"
        if not annotations.is_dir():
            raise FileNotFoundError(f"no Annotations_6fps in {folder}: give the folder sav_val or sav_test")
        names = listed[0].read_text().split() if listed else [path.name for path in annotations.iterdir()]
        self.names = sorted(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        """Raises FileNotFoundError where pictures or annotations are missing."""
        name = self.names[index]
        pictures = sorted((self.folder / "JPEGImages_24fps" / name).glob("*.jpg"))
        objects = sorted(path for path in (self.folder / "Annotations_6fps" / name).glob("*") if path.is_dir())
        if not pictures or not objects:
            raise FileNotFoundError(f"pictures or annotations of {name} are missing in {self.folder}: fetch them again")
        place = {path.stem: number for number, path in enumerate(pictures)}
        folders = dict(enumerate(objects, start=1))
        annotated = sorted({place[mask.stem] for path in objects for mask in path.glob("*.png") if mask.stem in place})

        def masks(index: int) -> Mapping[int, CroppedMask]:
            paths = {number: path / f"{pictures[index].stem}.png" for number, path in folders.items()}
            crops = {number: CroppedMask.from_full(read_indices(path) > 0) for number, path in paths.items()
                     if path.is_file()}  # fmt: skip
            return {number: crop for number, crop in crops.items() if crop.area}

        labels = {number: Label(frozenset()) for number in folders}
        called = {number: path.name for number, path in folders.items()}
        return Clip(name, FrameFiles(pictures), RATE, tuple(annotated), masks, labels, names=called)
