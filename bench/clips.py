# SPDX-License-Identifier: Apache-2.0
"""Rendered clips that no student has seen: who keeps whose id, and who comes back after being hidden.

    esam3 scenes render data/clips_held --split held_out --seed 91 --scenes 48 --frames 40 --fps 10
    python bench/clips.py data/clips_held [--bundle tabletop] [--limit 0] [--detect-every 1] [--json FILE]

Concepts: every noun that is there is searched for in every clip, once with `tracker: iou` and once with `memory`; HOTA,
identity switches and the recovery of hidden objects. Shown: every object of the first frame is followed from its mask;
J&F by DAVIS's rule, beside repeating the first mask. An object is hidden when it does not show for at least half a
second after being followed; it is recovered when the id that followed it before follows it again (IoU >= 0.5) within a
second of its return.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass
class Recoveries:
    """Objects that were hidden and showed again."""

    hidden: int = 0
    recovered: int = 0

    @property
    def rate(self) -> float:
        """Share that was recovered; nan if none was hidden."""
        return self.recovered / self.hidden if self.hidden else float("nan")


def main() -> None:
    """Measure, print two tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path, help="folder of shards rendered as clips")
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=0, help="clips, 0 = all (default: %(default)s)")
    parser.add_argument("--detect-every", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    clips = SceneClips(arguments.clips)
    count = min(arguments.limit, len(clips)) if arguments.limit else len(clips)
    student = load(arguments.bundle)
    result: dict[str, Any] = {"bundle": arguments.bundle, "clips": count, "concepts": {}}
    print(f"{arguments.bundle}, {count} clips, detection every {arguments.detect_every} frames")
    print(f"{'tracker':>8}  {'HOTA':>5}  {'DetA':>5}  {'AssA':>5}  {'J&F':>5}  {'switches':>8}  {'false':>6}  back")
    for kind in ("iou", "memory"):
        config = dataclasses.replace(student.bundle.tracker, tracker=kind, detect_every=arguments.detect_every)
        row = concept_row(student_with(student, config), [clips[i] for i in range(count)], clips.rate)
        result["concepts"][kind] = row
        print(f"{kind:>8}  {100 * row['hota']:5.1f}  {100 * row['det_a']:5.1f}  {100 * row['ass_a']:5.1f}  "
              f"{100 * row['j_and_f']:5.1f}  {row['id_switches']:8}  {row['false_tracks']:6}  "
              f"{row['recovered']} of {row['hidden']}")  # fmt: skip
    result["shown"] = shown(student, [clips[i] for i in range(count)])
    print("first mask shown, J&F: " + ", ".join(f"{k} {100 * v:.1f}" for k, v in result["shown"].items()))
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
    back = Recoveries()
    for unit in units:
        count_recoveries(unit, rate, back)
    return {
        "hota": scores.tracks.hota, "det_a": scores.tracks.det_a, "ass_a": scores.tracks.ass_a,
        "j_and_f": scores.masks.j_and_f if scores.masks else float("nan"), "id_switches": scores.links.id_switches,
        "coverage": scores.links.coverage, "false_tracks": scores.links.false_tracks, "hidden": back.hidden,
        "recovered": back.recovered, "units": len(units),
    }  # fmt: skip


def count_recoveries(unit: Unit, rate: float, into: Recoveries) -> None:
    """Look at every time an object of a unit is hidden after it was followed."""
    for masklet in unit.truths.values():
        owner, gap = 0, 0
        waiting = 0  # frames left in which it may be recovered
        for frame in unit.frames:
            if frame not in masklet:
                gap += 1
                continue
            if owner and gap >= HIDDEN * rate:
                into.hidden += 1
                waiting = max(1, round(RETURN * rate))
            gap = 0
            follower = who_follows(unit, frame, masklet[frame])
            if waiting:
                waiting -= 1
                if follower == owner:
                    into.recovered += 1
                    waiting = 0
            if not waiting and follower:
                owner = follower


def who_follows(unit: Unit, frame: int, crop: CroppedMask) -> int:
    """The track that shows an object in a frame, 0 if none does."""
    tracks = {number: masklet[frame] for number, masklet in unit.tracks.items() if frame in masklet}
    if not tracks:
        return 0
    likeness = iou_matrix([crop], list(tracks.values()))[0]
    return list(tracks)[int(likeness.argmax())] if likeness.max() >= SAME else 0


def shown(student: Student, clips: Sequence[Clip]) -> dict[str, float]:
    """J&F of objects shown by their first mask."""
    follower = StudentFollower(student)
    scores: dict[str, list[Any]] = {"memory": [], "repeat": []}
    for clip in tqdm(clips, unit="clip", desc="shown"):
        first: Mapping[int, CroppedMask] = clip.masks(clip.annotated[0])
        frames = {number: indices for number, indices in inner_frames(clip).items() if number in first}
        if not frames:
            continue
        answers = [(index, {n: c for n, c in masks.items() if n in first}) for index, masks in follower(clip)]
        scores["memory"] += measure_clip(clip, answers, frames).values()
        scores["repeat"] += measure_clip(clip, ((index, first) for index in range(len(clip))), frames).values()
    return {name: mean_scores(values).j_and_f for name, values in scores.items()}


if __name__ == "__main__":
    main()
