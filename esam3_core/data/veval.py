# SPDX-License-Identifier: Apache-2.0
"""SA-Co/VEval: videos with noun phrases, in YouTube-VIS's JSON.

`videos` (id, video_name, file_names, height, width), `annotations` (video_id, category_id, noun_phrase,
segmentations: one RLE or null per frame), `categories` (id, name) and `video_np_pairs` (video_id, category_id,
noun_phrase, num_masklets): every pair that was asked, also those without a masklet.
Source: https://github.com/facebookresearch/sam3/tree/main/scripts/eval/veval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esam3_core.data.clip import Clip, FrameFiles
from esam3_core.data.rle import decode_segmentation
from esam3_core.data.saco import clean_phrase, read_json
from esam3_core.data.sample import Label
from esam3_core.data.skips import Skips
from esam3_core.runtime.masks import CroppedMask

RATE = 6.0  # frames/s: SA-V's are annotated every fourth frame of 24/s; the others were extracted at 6/s


@dataclass(frozen=True)
class VideoPair:
    """A video and a phrase."""

    video: int  # its id
    category: int  # of the phrase
    phrase: str
    masklets: tuple[tuple[dict[str, Any] | None, ...], ...]  # instance -> frame -> RLE, None where it does not show


class SacoVideos:
    """The videos as clips.

    Args:
        annotations: the JSON.
        folder: of the frames, `file_names` below it.
        skips: counts masks that could not be used.

    Raises:
        FileNotFoundError, ValueError: the file is missing or damaged.
    """

    def __init__(self, annotations: Path, folder: Path, skips: Skips | None = None) -> None:
        self.folder, self.skips = Path(folder), skips or Skips()
        data = read_json(annotations, ("videos", "annotations", "categories", "video_np_pairs"))
        self.videos: list[dict[str, Any]] = data["videos"]
        masklets: dict[tuple[int, int], list[tuple[dict[str, Any] | None, ...]]] = {}
        for item in data["annotations"]:
            masklets.setdefault((item["video_id"], item["category_id"]), []).append(tuple(item["segmentations"]))
        asked = {(item["video_id"], item["category_id"]): item["noun_phrase"] for item in data["video_np_pairs"]}
        self.pairs = [VideoPair(video, category, phrase, tuple(masklets.get((video, category), ())))
                      for (video, category), phrase in asked.items()]  # fmt: skip

    def __len__(self) -> int:
        return len(self.videos)

    def of(self, video: int) -> list[VideoPair]:
        """The pairs of a video, by its id."""
        return [pair for pair in self.pairs if pair.video == video]

    def __getitem__(self, index: int) -> Clip:
        """A video; its objects are numbered over all phrases, and each has its phrase."""
        video = self.videos[index]
        pairs = self.of(video["id"])
        size = int(video["height"]), int(video["width"])
        phrases = frozenset(clean_phrase(pair.phrase) for pair in pairs)
        rows = [(clean_phrase(pair.phrase), masklet) for pair in pairs for masklet in pair.masklets]
        labels = {number: Label(frozenset({phrase}), denied=phrases - {phrase})
                  for number, (phrase, _) in enumerate(rows, start=1)}  # fmt: skip
        absent = tuple(sorted(phrases - {phrase for phrase, _ in rows}))

        def masks(place: int) -> Mapping[int, CroppedMask]:
            crops = {number: self._mask(row[place], size, video["video_name"])
                     for number, (_, row) in enumerate(rows, start=1)}  # fmt: skip
            return {number: crop for number, crop in crops.items() if crop is not None and crop.area}

        frames = FrameFiles([self.folder / name for name in video["file_names"]])
        return Clip(video["video_name"], frames, RATE, tuple(range(len(frames))), masks, labels, absent)

    def _mask(self, rle: dict[str, Any] | None, size: tuple[int, int], key: str) -> CroppedMask | None:
        if rle is None:
            return None
        try:
            return CroppedMask.from_full(decode_segmentation(rle, size).astype(bool))
        except (ValueError, KeyError, TypeError) as error:
            self.skips.add("wrong RLE", f"{key}: {error}")
            return None
