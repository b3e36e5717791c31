# SPDX-License-Identifier: Apache-2.0
"""Ways to follow the objects of a clip from their first masks: a bundle with memory, or PNGs of another program."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from esam3_core.data.clip import Clip, FrameFiles
from esam3_core.data.davis import split_numbers
from esam3_core.data.pictures import read_indices
from esam3_core.runtime.errors import PromptError
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.student import Student
from esam3_core.runtime.track import Track

Answers = Iterator[tuple[int, Mapping[int, CroppedMask]]]
"""(frame index, object -> mask)."""


class StudentFollower:
    """Shows a tracker each object's mask where it is first seen, then only steps it.

    An object whose first mask the student refuses is lost: the benchmarks give no second one, and a later mask would be
    the truth of a frame that is measured.

    Raises:
        BundleError: the bundle has no memory.
    """

    def __init__(self, student: Student) -> None:
        self.student = student
        assert student.memory  # raises BundleError

    def __call__(self, clip: Clip) -> Answers:
        """Every frame of a clip. Where masks overlap, the object with the better score has the pixels."""
        config = dataclasses.replace(
            self.student.bundle.tracker, tracker="memory", max_tracks=max(1, len(clip.labels)), memory_age=3600.0
        )
        tracker = self.student.track((), config)
        names: dict[int, int] = {}  # track -> object
        given: set[int] = set()  # objects
        for frame in clip.read(range(len(clip))):
            stamp = frame.index / clip.rate
            for number in sorted((set(frame.masks or ()) & set(clip.labels)) - given):
                assert frame.masks is not None
                given.add(number)
                with contextlib.suppress(PromptError):
                    names[tracker.add(frame.image, stamp, mask=frame.masks[number].full()).id] = number
            tracks = [track for track in tracker.step(frame.image, stamp) if track.id in names]
            yield frame.index, {names[track.id]: crop for track, crop in without_overlap(tracks)}


def without_overlap(tracks: list[Track]) -> list[tuple[Track, CroppedMask]]:
    """Masks of one frame, each pixel given to the best-scoring track that claims it; empty ones are left out."""
    taken: np.ndarray | None = None
    kept = []
    for track in sorted(tracks, key=lambda track: -track.score):
        mask = track.mask if taken is None else track.mask & ~taken
        taken = mask if taken is None else taken | mask
        crop = CroppedMask.from_full(mask)
        if crop.area:
            kept.append((track, crop))
    return kept


class StoredResults:
    """Masks that some program wrote: as DAVIS wants them, `FOLDER/SEQUENCE/00000.png` with object numbers in an indexed
    PNG, or as SA-V does, `FOLDER/SEQUENCE/OBJECT/00000.png` with one object in each.

    Args:
        folder: of the sequences' folders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def __call__(self, clip: Clip) -> Answers:
        """The annotated frames of a clip.

        Raises:
            FileNotFoundError: a PNG is missing.
            ValueError: one is damaged, or a folder is none of the clip's objects.
        """
        assert isinstance(clip.frames, FrameFiles)
        folder = self.folder / clip.key
        objects = self._objects(clip, {path.name for path in folder.glob("*") if path.is_dir()})
        for index in clip.annotated[1:-1]:
            name = f"{clip.frames.paths[index].stem}.png"
            if not objects:
                yield index, split_numbers(read_indices(_there(folder / name)))
                continue
            truth = clip.masks(index)
            wanted = {number: folder / own / name for number, own in objects.items()}
            # Where an object does not show, a program need not write anything.
            files = {number: path for number, path in wanted.items() if number in truth or path.is_file()}
            crops = {number: CroppedMask.from_full(read_indices(_there(path)) > 0) for number, path in files.items()}
            yield index, {number: crop for number, crop in crops.items() if crop.area}

    def _objects(self, clip: Clip, found: set[str]) -> Mapping[int, str]:
        """Object -> its folder; empty where a sequence has no such folders."""
        unknown = found - set(clip.names.values())
        if unknown:
            known = f"has objects {', '.join(clip.names.values())}" if clip.names else "needs one PNG a frame"
            strange = ", ".join(sorted(unknown))
            raise ValueError(f"{self.folder / clip.key} has folders {strange}, but {clip.key} {known}")
        return clip.names if found else {}


def _there(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: let the program that was measured write every annotated frame")
    return path
