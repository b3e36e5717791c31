# SPDX-License-Identifier: Apache-2.0
"""LVOS v1 and v2: long videos; `valid/JPEGImages/SEQ/00000001.jpg`, `valid/Annotations/SEQ/00000001.png`,
`valid_meta.json` with the span of frames in which each object is annotated, every fifth frame.

Source: https://lingyihongfd.github.io/lvos.github.io, "LVOS: A Benchmark for Long-term Video Object Segmentation".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from esam3_core.data.clip import Clip, FrameFiles
from esam3_core.data.davis import indexed_clip
from esam3_core.data.sample import Label

RATE = 6.0  # frames/s of the pictures that are released
STEP = 5  # frames from one annotated frame to the next, by name


@dataclass(frozen=True)
class Span:
    """Where an object is annotated: names of its first and its last frame, as numbers."""

    start: int
    end: int


class LvosSequences:
    """The sequences of a part, by name.

    Args:
        root: with the folder `valid` (or test, train) and its `valid_meta.json`, beside it or in it.
        part: name of the folder.

    Raises:
        FileNotFoundError: the meta file is missing.
        ValueError: it is damaged.
    """

    def __init__(self, root: Path, part: str = "valid") -> None:
        self.folder = Path(root) / part
        places = [Path(root) / f"{part}_meta.json", self.folder / f"{part}_meta.json"]
        meta = next((path for path in places if path.is_file()), None)
        if meta is None:
            raise FileNotFoundError(f"{places[0]} is missing: give LVOS's folder, with {part} and its meta file in it")
        try:
            videos = json.loads(meta.read_text())["videos"]
            self.spans = {name: _spans(video["objects"]) for name, video in sorted(videos.items())}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{meta} is damaged ({error!r}): fetch it again") from error
        self.names = list(self.spans)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Clip:
        """Raises FileNotFoundError where pictures or annotations are missing."""
        name = self.names[index]
        pictures = sorted((self.folder / "JPEGImages" / name).glob("*.jpg"))
        annotations = sorted((self.folder / "Annotations" / name).glob("*.png"))
        clip = indexed_clip(name, pictures, annotations, RATE)
        # DAVIS asks for what the first frame shows; here objects come later too, and are given where they first show.
        return replace(clip, labels={number: Label(frozenset()) for number in self.spans[name]})

    def span_of(self, clip: Clip) -> dict[int, tuple[int, int]]:
        """Object -> indices in the clip of its first and its last annotated frame."""
        assert isinstance(clip.frames, FrameFiles)
        place = {int(path.stem): index for index, path in enumerate(clip.frames.paths)}
        spans = self.spans[clip.key]
        return {number: (place[span.start], place.get(span.end, len(clip) - 1)) for number, span in spans.items()}


def _spans(objects: dict[str, dict[str, dict[str, str]]]) -> dict[int, Span]:
    ranges = {int(number): item["frame_range"] for number, item in objects.items()}
    return {number: Span(int(span["start"]), int(span["end"])) for number, span in ranges.items()}
