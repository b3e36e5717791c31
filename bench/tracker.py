# SPDX-License-Identifier: Apache-2.0
"""What each tracker setting does, on simulated scenes seen through a detector with known faults.

    python bench/tracker.py [--worlds 6] [--frames 180] [--stride 1] [--json FILE]

The detector is made up from the scenes' truth: it misses instances (more of them when they are hidden, often several
frames in a row), cuts and swells masks, and sometimes sees what is not there. So the numbers show what a setting
changes, not how good a student is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from esam3_core.config import DetectorConfig, TrackerConfig
from esam3_core.metrics.video import TrackScorer
from esam3_core.runtime.detector import drop_duplicates
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.roster import Roster
from esam3_core.runtime.track import Detection

CONCEPTS = ("cup", "mug", "bowl", "bottle", "apple", "book")
RATE = 15.0  # frames/s
SIZE = (240, 320)  # H, W
SETTINGS: list[dict[str, Any]] = [
    {},
    {"hold": 0.0},
    {"hold": 0.4},
    {"reach": 0.0},
    {"reach": 0.5},
    {"reach": 2.0},
    {"match_iou": 0.1},
    {"match_iou": 0.5},
    {"min_hits": 1},
    {"min_hits": 3},
    {"max_age": 0.5},
    {"max_age": 4.0},
    {"new_score": 0.7},
    {"detect_every": 2},
    {"detect_every": 4},
]


@dataclass(frozen=True)
class Seen:
    """One instance in one frame."""

    id: int
    phrases: list[str]
    visible: float  # 0..1
    crop: CroppedMask


Clip = list[tuple[float, list[Seen]]]  # stamp, instances


def main() -> None:
    """Render, track with every setting, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=6)
    parser.add_argument("--frames", type=int, default=180, help=f"per world, at {RATE:.0f} frames/s")
    parser.add_argument("--stride", type=int, default=1, help="process every n-th frame only, as a slow machine does")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    clips = [render(seed, arguments.frames) for seed in range(arguments.worlds)]
    print(f"{'setting':>20}  {'mean IoU':>8}  {'coverage':>8}  {'switches':>8}  {'false':>8}")
    rows = []
    for setting in SETTINGS:
        row = {"setting": setting, **evaluate(clips, replace(TrackerConfig(), **setting), arguments.stride)}
        rows.append(row)
        name = " ".join(f"{key} {value}" for key, value in setting.items()) or "defaults"
        scores = f"{row['mean_iou']:8.3f}  {row['coverage']:8.3f}  {row['id_switches']:8}  {row['false_tracks']:8}"
        print(f"{name:>20}  {scores}", flush=True)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def render(seed: int, frames: int) -> Clip:
    """The instances of a world, which moves, is moved in, and is seen by a moving camera."""
    from esam3_core.scenes.world import World, demo_config

    world = World(seed, demo_config(SIZE[1], SIZE[0], RATE))
    clip = []
    for index in range(frames):
        frame = world.step()
        seen = [
            Seen(one.id, one.phrases, one.visible, CroppedMask.from_full(frame.ids == one.id))
            for one in frame.instances
            if one.area > 30
        ]
        clip.append((index / RATE, seen))
    world.close()
    return clip


def evaluate(clips: list[Clip], config: TrackerConfig, stride: int) -> dict[str, Any]:
    """Scores over all clips and concepts."""
    totals = np.zeros(4)
    frames = 0
    for number, clip in enumerate(clips):
        for concept in CONCEPTS:
            if not any(concept in one.phrases for _, seen in clip for one in seen):
                continue
            roster, scorer = Roster(config), TrackScorer()
            random = np.random.default_rng([number, CONCEPTS.index(concept)])
            stream = list(faulty_detections(clip, concept, random))[::stride]
            for index, (stamp, detections, truth) in enumerate(stream):
                due = index % config.detect_every == 0
                tracks = roster.update(detections if due else [], stamp, looked_for=None if due else ())
                scorer.add(truth, {track.id: track.crop for track in tracks if track.state != "occluded"})
            result = scorer.result()
            totals += np.array(
                [
                    result.mean_iou * result.frames,
                    result.coverage * result.frames,
                    result.id_switches,
                    result.false_tracks,
                ]
            )
            frames += result.frames
    iou, coverage, switches, false = totals
    return {
        "mean_iou": round(iou / frames, 4),
        "coverage": round(coverage / frames, 4),
        "id_switches": int(switches),
        "false_tracks": int(false),
    }


def faulty_detections(
    clip: Clip, concept: str, random: np.random.Generator
) -> Iterator[tuple[float, list[Detection], dict[int, CroppedMask]]]:
    """Stamp, detections and truth of each frame."""
    blind: dict[int, int] = {}  # instance -> frames for which it stays missed
    for stamp, seen in clip:
        wanted = [one for one in seen if concept in one.phrases]
        found = []
        for one in wanted:
            if blind.get(one.id, 0) > 0:
                blind[one.id] -= 1
            elif random.random() > (0.93 if one.visible > 0.5 else 0.55):
                blind[one.id] = int(random.integers(0, 3))
            else:
                found.append(detection(concept, faulty(one.crop, random), random.normal(0.6 + 0.2 * one.visible, 0.1)))
        if random.random() < 0.03:
            ghost = np.zeros(SIZE, np.uint8)
            centre = int(random.integers(20, SIZE[1] - 20)), int(random.integers(20, SIZE[0] - 20))
            cv2.circle(ghost, centre, int(random.integers(8, 25)), 1, -1)
            found.append(detection(concept, CroppedMask.from_full(ghost.view(np.bool_)), random.uniform(0.5, 0.75)))
        good = [one for one in found if one.score >= DetectorConfig().score_threshold and one.crop.area > 20]
        good.sort(key=lambda one: -one.score)
        yield stamp, drop_duplicates(good, DetectorConfig().duplicate_iou), {one.id: one.crop for one in wanted}


def faulty(crop: CroppedMask, random: np.random.Generator) -> CroppedMask:
    """A mask swollen or shrunk by up to two pixels; one in ten lacks a side."""
    mask = crop.full().view(np.uint8)
    change = int(random.integers(-2, 3))
    if change:
        side = 2 * abs(change) + 1
        mask = np.asarray((cv2.dilate if change > 0 else cv2.erode)(mask, np.ones((side, side), np.uint8)))
    if random.random() < 0.1:
        x, y, width, height = crop.roi
        share = random.uniform(0.2, 0.5)
        if random.random() < 0.5:
            mask[:, x : x + int(width * share)] = 0
        else:
            mask[y : y + int(height * share)] = 0
    return CroppedMask.from_full(mask.view(np.bool_))


def detection(concept: str, crop: CroppedMask, score: float) -> Detection:
    """A detection whose box is that of its mask."""
    x, y, width, height = crop.roi
    return Detection(concept, float(np.clip(score, 0, 1)), (float(x), float(y), float(width), float(height)), crop)


if __name__ == "__main__":
    main()
