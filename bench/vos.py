# SPDX-License-Identifier: Apache-2.0
"""How well an object is followed through real video from its first mask: J&F by DAVIS's rule.

    python bench/vos.py [--bundle tabletop] [--davis FOLDER] [--video FILE --masks FILE.npz]
                        [--json FILE] [--pictures DIR]

FOLDER holds `images/SEQUENCE/*.jpg` and `labels/SEQUENCE/*.json` with one COCO RLE per frame. Three ways to follow are
compared: `memory` is shown the first mask; `iou` looks for the sequence's phrase in every frame, and of its tracks the
one that fits the first mask counts; `repeat` says the first mask again and again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from esam3_core import load
from esam3_core.data.clip import Clip, FrameFiles, VideoFile
from esam3_core.data.real import decode
from esam3_core.data.sample import Label
from esam3_core.metrics.clip import read_masks
from esam3_core.metrics.following import StudentFollower
from esam3_core.metrics.objects import ObjectScores, inner_frames, mean_scores, measure_clip
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.student import Student

OBJECT = 1  # number of the only object of a clip
SHOWN = 6  # frames of a clip that are drawn
Answers = Iterator[tuple[int, Mapping[int, CroppedMask]]]


def main() -> None:
    """Follow, print a table, write the JSON and the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--davis", type=Path, metavar="FOLDER")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--masks", type=Path, help="of the video's one object: frames, shape and bits")
    parser.add_argument("--phrase", default="mug", help="what the video shows (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="draw what memory follows")
    arguments = parser.parse_args()
    clips = davis_clips(arguments.davis) if arguments.davis else []
    if arguments.video:
        clips.append(video_clip(arguments.video, arguments.masks, arguments.phrase))
    if not clips:
        parser.error("nothing to follow: give --davis, or --video with --masks")
    student = load(arguments.bundle)
    ways: dict[str, Callable[[Clip], Answers]] = {
        "memory": StudentFollower(student),
        "iou": lambda clip: linked(student, clip),
        "repeat": repeated,
    }
    scores: dict[str, dict[str, ObjectScores]] = {}
    for name, way in ways.items():
        scores[name] = {}
        for clip in clips:
            answers = dict(way(clip))
            scores[name][clip.key] = measure_clip(clip, iter(answers.items()), inner_frames(clip))[OBJECT]
            if name == "memory" and arguments.pictures:
                draw(clip, answers, arguments.pictures)
    print_table(arguments.bundle, clips, scores)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        values = {
            name: {key: {**dataclasses.asdict(one), "j_and_f": one.j_and_f} for key, one in rows.items()}
            for name, rows in scores.items()
        }
        arguments.json.write_text(json.dumps({"bundle": arguments.bundle, **values}, indent=1) + "\n", encoding="utf-8")


def davis_clips(folder: Path) -> list[Clip]:
    """The sequences of a folder, each with one object.

    Raises:
        FileNotFoundError: there is none.
    """
    clips = [_davis_clip(folder, labels) for labels in sorted((folder / "labels").glob("*/"))]
    if not clips:
        raise FileNotFoundError(f"no labels/SEQUENCE in {folder}: is it the right folder?")
    return clips


def _davis_clip(folder: Path, labels: Path) -> Clip:
    records = [json.loads(path.read_text()) for path in sorted(labels.glob("*.json"))]
    paths = [folder / record["image"] for record in records]
    phrase = next(item["phrase"] for record in records for item in record["instances"])

    def masks(frame: int) -> dict[int, CroppedMask]:
        record = records[frame]
        height, width = record["size"]
        parts = [decode(item["rle"], record["size"], height, width) for item in record["instances"]]
        return {OBJECT: CroppedMask.from_full(np.any(parts, axis=0))} if parts else {}

    known = tuple(range(len(records)))
    return Clip(labels.name, FrameFiles(paths), 24.0, known, masks, {OBJECT: Label(frozenset({phrase}))})


def video_clip(video: Path, masks: Path, phrase: str) -> Clip:
    """A video with masks of one object in some of its frames."""
    sparse = read_masks(masks)
    places = {int(frame): place for place, frame in enumerate(sparse.frames)}
    frames = VideoFile(video)
    known = tuple(sorted(places))
    return Clip(
        video.stem, frames, 24.0, known, lambda frame: {OBJECT: CroppedMask.from_full(sparse.masks[places[frame]])},
        {OBJECT: Label(frozenset({phrase}))},
    )  # fmt: skip


def linked(student: Student, clip: Clip) -> Answers:
    """The phrase's tracks without memory; the one that fits the first mask best is followed."""
    (phrase,) = clip.labels[OBJECT].phrases
    tracker = student.track([phrase], dataclasses.replace(student.bundle.tracker, tracker="iou", min_hits=1))
    first = clip.masks(clip.annotated[0])[OBJECT]
    chosen = 0
    for frame in clip.read(range(len(clip))):
        tracks = {track.id: track for track in tracker.step(frame.image, frame.index / clip.rate)}
        if not chosen and tracks and frame.index >= clip.annotated[0]:
            overlap = iou_matrix([first], [track.crop for track in tracks.values()])[0]
            chosen = list(tracks)[int(overlap.argmax())] if overlap.max() > 0 else 0
        yield frame.index, {OBJECT: tracks[chosen].crop} if chosen in tracks and tracks[chosen].crop.area else {}


def repeated(clip: Clip) -> Answers:
    """The first mask in every frame."""
    first = clip.masks(clip.annotated[0])
    for index in range(len(clip)):
        yield index, first


def draw(clip: Clip, answers: Mapping[int, Mapping[int, CroppedMask]], folder: Path) -> None:
    """A strip of frames with the mask that memory sees."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = [int(i) for i in np.linspace(0, len(clip) - 1, SHOWN)]
    tiles = []
    for frame in clip.read(chosen):
        image = frame.image.copy()
        for crop in answers.get(frame.index, {}).values():
            mask = crop.full()
            image[mask] = (0.5 * image[mask] + 0.5 * np.array([255, 200, 0])).astype(np.uint8)
        tiles.append(cv2.resize(image, (320, 180)))
    cv2.imwrite(str(folder / f"{clip.key}.jpg"), cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR))


def print_table(bundle: str, clips: list[Clip], scores: Mapping[str, Mapping[str, ObjectScores]]) -> None:
    """J&F of each clip and way, and the means."""
    print(f"{bundle}: J&F (J / F), first mask given, first and last annotated frame left out")
    print(f"{'clip':>16}  " + "  ".join(f"{name:>22}" for name in scores))
    means = {name: mean_scores(list(rows.values())) for name, rows in scores.items()}
    for key in [*(clip.key for clip in clips), "mean"]:
        cells = [means[name] if key == "mean" else rows[key] for name, rows in scores.items()]
        print(f"{key:>16}  " + "  ".join(f"{100*c.j_and_f:8.1f} ({100*c.j:4.1f} / {100*c.f:4.1f})" for c in cells))


if __name__ == "__main__":
    main()
