# SPDX-License-Identifier: Apache-2.0
r"""Rendered clips that no student has seen: who keeps whose id, and who comes back after being hidden.

    esam3 scenes render data/clips_held --busy --split held_out --seed 91 --scenes 48 --frames 40 --fps 10 \
                        --width 320 --height 240
    python bench/clips.py data/clips_held [--bundle tabletop] [--limit 0] [--detect-every 1] [--json FILE]
                          [--picture FILE]

Concepts: every noun that is there is searched for in every clip, once with `tracker: iou` and once with `memory`; HOTA,
identity switches and the recovery of hidden objects. Shown: every object of the first frame is followed from its mask;
J&F by DAVIS's rule, beside repeating the first mask. An object is hidden when it does not show for at least half a
second after being followed; it is recovered when the id that followed it before follows it again (IoU >= 0.5) within a
second of its return. Some return just before their clip ends; those whose clip goes on for that second are counted
apart, whatever became of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from esam3_core import load
from esam3_core.data.clip import Clip
from esam3_core.data.scene_clips import SceneClips
from esam3_core.metrics.following import StudentFollower
from esam3_core.metrics.objects import inner_frames, mean_scores, measure_clip
from esam3_core.metrics.pairs import NOUN
from esam3_core.metrics.units import Unit, score_units, track_phrases
from esam3_core.runtime.masks import CroppedMask, iou_matrix
from esam3_core.runtime.student import Student
from esam3_core.scenes.vocabulary import NOUNS

HIDDEN, RETURN = 0.5, 1.0  # s
SAME = 0.5  # IoU
COLOURS = ((255, 176, 0), (40, 180, 255), (230, 60, 150), (90, 220, 90), (160, 110, 255))  # RGB


@dataclass(frozen=True)
class Return:
    """An object that was hidden and shows again."""

    unit: Unit
    track: int  # that followed it before
    left: int  # last frame before
    back: int  # first frame in which it shows again
    again: int | None  # first frame in which that track follows it again, if soon enough
    is_whole: bool  # whether the clip goes on for the second in which it may


def main() -> None:
    """Measure, print two tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of shards rendered as clips")
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=0, help="clips, 0 = all (default: %(default)s)")
    parser.add_argument("--detect-every", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--shown-only", action="store_true", help="leave the concepts out")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw an object that comes back")
    arguments = parser.parse_args()
    clips = SceneClips(arguments.clips)
    count = min(arguments.limit, len(clips)) if arguments.limit else len(clips)
    student = load(arguments.bundle)
    result: dict[str, Any] = {"bundle": arguments.bundle, "clips": count, "concepts": {}}
    print(f"{arguments.bundle}, {count} clips, detection every {arguments.detect_every} frames")
    print(f"{'tracker':>8}  {'HOTA':>5}  {'DetA':>5}  {'AssA':>5}  {'J&F':>5}  {'switches':>8}  {'false':>6}  back")
    for kind in () if arguments.shown_only else ("iou", "memory"):
        config = dataclasses.replace(student.bundle.tracker, tracker=kind, detect_every=arguments.detect_every)
        row = concept_row(student_with(student, config), [clips[i] for i in range(count)], clips.rate)
        result["concepts"][kind] = row
        print(f"{kind:>8}  {100 * row['hota']:5.1f}  {100 * row['det_a']:5.1f}  {100 * row['ass_a']:5.1f}  "
              f"{100 * row['j_and_f']:5.1f}  {row['id_switches']:8}  {row['false_tracks']:6}  "
              f"{told(row)}")  # fmt: skip
    result["shown"], hidden = shown(student, [clips[i] for i in range(count)], clips.rate)
    result["shown_returns"] = count_returns(hidden)
    scores = ", ".join(f"{k} {100 * v:.1f}" for k, v in result["shown"].items())
    print(f"first mask shown: J&F {scores}; back {told(result['shown_returns'])}")
    if arguments.picture:
        draw_return(hidden, [clips[i] for i in range(count)], arguments.picture)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def student_with(student: Student, tracker: Any) -> Student:
    """The same student, whose bundle has other tracker settings."""
    student.bundle = dataclasses.replace(student.bundle, tracker=tracker)
    return student


def concept_row(student: Student, clips: Sequence[Clip], rate: float) -> dict[str, Any]:
    """Every noun that a clip shows, tracked."""
    units: list[Unit] = []
    for clip in tqdm(clips, unit="clip", desc=student.bundle.tracker.tracker):
        nouns = sorted({phrase for label in clip.labels.values() for phrase in label.phrases if phrase in NOUNS})
        units += track_phrases(student, clip, [(noun, NOUN) for noun in nouns])
    scores = score_units(units)
    hidden = [one for unit in units for one in returns(unit, rate)]
    return {
        "hota": scores.tracks.hota, "det_a": scores.tracks.det_a, "ass_a": scores.tracks.ass_a,
        "j_and_f": scores.masks.j_and_f if scores.masks else float("nan"), "id_switches": scores.links.id_switches,
        "coverage": scores.links.coverage, "false_tracks": scores.links.false_tracks, "units": len(units),
        **count_returns(hidden),
    }  # fmt: skip


def returns(unit: Unit, rate: float) -> Iterator[Return]:
    """Every time an object of a unit was followed, hidden, and showed again."""
    wanted = max(1, round(RETURN * rate))  # frames of the second after a return
    for masklet in unit.truths.values():
        owner, last = 0, 0
        for place, frame in enumerate(unit.frames):
            if frame not in masklet:
                continue
            if owner and place - last > HIDDEN * rate:
                second = unit.frames[place : place + wanted]
                later = [f for f in second if f in masklet]
                again = next((f for f in later if who_follows(unit, f, masklet[f]) == owner), None)
                yield Return(unit, owner, unit.frames[last], frame, again, len(second) == wanted)
            last = place
            owner = who_follows(unit, frame, masklet[frame]) or owner


def count_returns(hidden: Sequence[Return]) -> dict[str, int]:
    """How many were hidden and recovered, in all and of those whose clip goes on for a second."""
    whole = [one for one in hidden if one.is_whole]
    return {
        "hidden": len(hidden), "recovered": sum(one.again is not None for one in hidden),
        "hidden_whole": len(whole), "recovered_whole": sum(one.again is not None for one in whole),
    }  # fmt: skip


def told(row: Mapping[str, Any]) -> str:
    """`count_returns` in words."""
    whole = f"{row['recovered_whole']} of {row['hidden_whole']}"
    return f"{row['recovered']} of {row['hidden']} ({whole} with a second to go)"


def who_follows(unit: Unit, frame: int, crop: CroppedMask) -> int:
    """The track that shows an object in a frame, 0 if none does."""
    tracks = {number: masklet[frame] for number, masklet in unit.tracks.items() if frame in masklet}
    if not tracks:
        return 0
    likeness = iou_matrix([crop], list(tracks.values()))[0]
    return list(tracks)[int(likeness.argmax())] if likeness.max() >= SAME else 0


def shown(student: Student, clips: Sequence[Clip], rate: float) -> tuple[dict[str, float], list[Return]]:
    """J&F of objects shown by their first mask, and those of them that were hidden."""
    follower = StudentFollower(student)
    scores: dict[str, list[Any]] = {"memory": [], "repeat": []}
    hidden: list[Return] = []
    for clip in tqdm(clips, unit="clip", desc="shown"):
        first: Mapping[int, CroppedMask] = clip.masks(clip.annotated[0])
        frames = {number: indices for number, indices in inner_frames(clip).items() if number in first}
        if not frames:
            continue
        answers = {index: {n: c for n, c in masks.items() if n in first} for index, masks in follower(clip)}
        scores["memory"] += measure_clip(clip, answers.items(), frames).values()
        scores["repeat"] += measure_clip(clip, ((index, first) for index in range(len(clip))), frames).values()
        truths = {index: clip.masks(index) for index in clip.annotated}
        tracks = {n: {i: masks[n] for i, masks in answers.items() if n in masks} for n in first}
        objects = {n: {i: masks[n] for i, masks in truths.items() if n in masks} for n in first}
        size = next(iter(first.values())).size
        unit = Unit(clip.key, "shown", NOUN, clip.annotated, size, objects, tracks, dict.fromkeys(first, 1.0))
        hidden += returns(unit, rate)
    return {name: mean_scores(values).j_and_f for name, values in scores.items()}, hidden


def draw_return(hidden: Sequence[Return], clips: Sequence[Clip], picture: Path) -> None:
    """The longest absence that ended well: before, in between, after."""
    well = [one for one in hidden if one.again is not None]
    if not well:
        print("no object came back: nothing is drawn")
        return
    one = max(well, key=lambda one: one.back - one.left)
    assert one.again is not None
    clip = next(clip for clip in clips if clip.key == one.unit.clip)
    middle = np.linspace(one.left, one.again, 4).round().astype(int)
    chosen = [max(0, one.left - 4), *(int(i) for i in middle), min(len(clip) - 1, one.again + 4)]
    tiles = []
    for frame in clip.read(chosen):
        image = frame.image.copy()
        for number, masklet in one.unit.tracks.items():
            if frame.index in masklet:
                mask = masklet[frame.index].full()
                image[mask] = (0.45 * image[mask] + 0.55 * np.array(COLOURS[number % len(COLOURS)])).astype(np.uint8)
                x, y, _, _ = masklet[frame.index].roi
                cv2.putText(image, str(number), (x, max(12, y)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        label = f"{one.unit.phrase}, {frame.index / clip.rate:.1f} s"
        cv2.putText(image, label, (4, image.shape[0] - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1)
        tiles.append(image)
    rows = [np.hstack(tiles[:3]), np.hstack(tiles[3:])]
    picture.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(picture), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
