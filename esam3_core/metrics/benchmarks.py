# SPDX-License-Identifier: Apache-2.0
"""The data sets that `esam3 eval` knows by their own rules, each from files to a table and a summary."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from esam3_core.data.clip import Clip
from esam3_core.data.davis import DavisSequences
from esam3_core.data.lacking import lacking
from esam3_core.data.lvos import LvosSequences
from esam3_core.data.saco import SacoPairs
from esam3_core.data.sav import SavFrames
from esam3_core.data.veval import SacoVideos
from esam3_core.metrics.evaluate import chosen
from esam3_core.metrics.following import StoredResults, StudentFollower
from esam3_core.metrics.objects import Found, Frames, ObjectScores, inner_frames, mean_scores, measure_clip, span_frames
from esam3_core.metrics.options import SPLIT
from esam3_core.metrics.saco import SacoScores, judged, saco_scores
from esam3_core.metrics.saco_answers import answer_pictures, answer_videos
from esam3_core.metrics.saco_video import score_videos
from esam3_core.metrics.table import markdown_table
from esam3_core.metrics.units import ClipConceptScores, as_dict, measure_clips, score_units
from esam3_core.runtime.student import Student

Result = tuple[str, dict[str, Any]]
"""Markdown, and what goes into the JSON."""


def run_saco(student: Student | None, arguments: argparse.Namespace) -> Result:
    """SA-Co Gold or Silver, of a bundle or of a file of predictions."""
    pairs = SacoPairs(arguments.saco, arguments.pictures)
    wanted = [pairs.pairs[index] for index in chosen(len(pairs.pairs), arguments.limit)]
    if student is None:
        stored = _read_list(arguments.predictions, "image_id", "score", "segmentation")
        answers = _by_pair(stored, {pair.id for pair in pairs.pairs})
    else:
        answers = answer_pictures(student, pairs, wanted)
    scores = saco_scores([judged(pair, answers.get(pair.id, ())) for pair in wanted])
    about = f"{arguments.saco[0].name}, {len(arguments.saco)} annotator(s), {pairs.skips}"
    return saco_markdown(about, scores), {**dataclasses.asdict(scores), "skipped": dict(pairs.skips.counts)}


def run_veval(student: Student | None, arguments: argparse.Namespace) -> Result:
    """SA-Co/VEval, of a bundle or of a file of predictions."""
    videos = SacoVideos(arguments.veval, arguments.pictures)
    sizes = {video["id"]: (int(video["height"]), int(video["width"])) for video in videos.videos}
    indices = chosen(len(videos), arguments.limit)
    ids = {videos.videos[index]["id"] for index in indices}
    if student is None:
        stored = _read_list(arguments.predictions, "video_id", "category_id", "score", "segmentations")
        answers = [item for item in stored if item["video_id"] in ids]
    else:
        answers = answer_videos(student, videos, indices)
    scores = score_videos([pair for pair in videos.pairs if pair.video in ids], answers, sizes)
    markdown = saco_markdown(arguments.veval.name, scores.concepts) + "\n" + hota_markdown({"all": scores.tracks})
    return markdown, dataclasses.asdict(scores)


def run_objects(student: Student | None, arguments: argparse.Namespace) -> Result:
    """DAVIS, LVOS or SA-V: J&F of objects given by their first mask, of a bundle or of a folder of PNGs."""
    found: Found = StoredResults(arguments.results) if student is None else StudentFollower(student)
    objects: dict[str, ObjectScores] = {}
    for clip, frames in tqdm(list(_sequences(arguments)), unit="clip", desc="follow"):
        scores = measure_clip(clip, found(clip), frames)
        objects |= {f"{clip.key}_{clip.names.get(number, number)}": one for number, one in scores.items()}
    overall = mean_scores(list(objects.values()))
    rows = {"**all objects**": overall, **objects}
    cells = {name: [100 * value for value in (one.j_and_f, one.j, one.j_recall, one.j_decay, one.f, one.f_recall,
                                              one.f_decay, one.spread)] for name, one in rows.items()}  # fmt: skip
    head = ["object", "J&F", "J", "J recall", "J decay", "F", "F recall", "F decay", "V"]
    summary = {name.strip("*"): {**dataclasses.asdict(one), "j_and_f": one.j_and_f} for name, one in rows.items()}
    return markdown_table(head, cells), {"overall": summary.pop("all objects"), "objects": summary}


def run_prompted(student: Student, arguments: argparse.Namespace) -> Result:
    """COCO, LVIS or a folder of real pictures: mIoU of instances prompted by a box or a point."""
    from esam3_core.data.coco import CocoPictures
    from esam3_core.data.lvis import LvisPictures
    from esam3_core.data.real import RealFolder
    from esam3_core.metrics.prompted import PromptedStudent, measure_prompted

    if arguments.real:
        samples: Any = RealFolder(arguments.real, arguments.split or SPLIT)
    elif arguments.coco:
        samples = CocoPictures(arguments.coco, arguments.pictures)
    else:
        samples = LvisPictures(arguments.lvis, arguments.pictures)
    ask = PromptedStudent(student)
    kinds = arguments.prompt or ["box"]
    scores = {kind: measure_prompted(ask, samples, kind, arguments.limit) for kind in kinds}
    names = {"mIoU": "miou", "by class": "miou_by_class", "small": "small", "medium": "medium", "large": "large",
             "IoU >= 50": "share_50", "IoU >= 75": "share_75"}  # fmt: skip
    cells = {kind: [100 * getattr(one, field) for field in names.values()] for kind, one in scores.items()}
    first = next(iter(scores.values()))
    about = f"{first.instances} instances in {first.pictures} pictures\n\n"
    summary = {kind: dataclasses.asdict(one) for kind, one in scores.items()}
    return about + markdown_table(["prompt", *names], cells), summary


def run_scene_clips(student: Student, arguments: argparse.Namespace) -> Result:
    """Rendered clips: concepts tracked from the first frame on."""
    from esam3_core.data.scene_clips import SceneClips

    units = measure_clips(student, SceneClips(arguments.scene_clips), arguments.limit)
    kinds = dict.fromkeys(unit.kind for unit in units)
    groups = {"all": units} | {kind: [unit for unit in units if unit.kind == kind] for kind in kinds}
    scores = {name: score_units(group) for name, group in groups.items()}
    about = f"{scores['all'].clips} clips, {scores['all'].units} phrases"
    parts = [saco_markdown(about, scores["all"].concepts), hota_markdown({n: s.tracks for n, s in scores.items()}),
             _links(scores)]  # fmt: skip
    return "\n".join(parts), {name: as_dict(one) for name, one in scores.items()}


RUNS: dict[str, Callable[..., Result]] = {
    "saco": run_saco, "veval": run_veval, "davis": run_objects, "lvos": run_objects, "sav": run_objects,
    "coco": run_prompted, "lvis": run_prompted, "scene_clips": run_scene_clips,
}  # fmt: skip
"""Argument that names the data -> what measures on it."""


def saco_markdown(about: str, scores: SacoScores) -> str:
    """SA-Co's table, in per cent."""
    names = {"cgF1": scores.cg_f1, "pmF1": scores.pm_f1, "IL_MCC": scores.il_mcc, "cgF1@50": scores.cg_f1_50,
             "cgF1@75": scores.cg_f1_75, "pmF1@50": scores.pm_f1_50, "false +": scores.false_positive_rate}  # fmt: skip
    counts = f"{about}: {scores.positives} pairs with an instance, {scores.negatives} without\n\n"
    return counts + markdown_table(["", *names], {"all": [100 * value for value in names.values()]})


def hota_markdown(rows: dict[str, Any]) -> str:
    """HOTA's table, in per cent."""
    head = ["", "HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA"]
    return markdown_table(head, {name: [100 * v for v in dataclasses.astuple(one)] for name, one in rows.items()})


def _links(scores: dict[str, ClipConceptScores]) -> str:
    head = ["", "J&F", "J", "F", "coverage", "identity switches", "false tracks"]
    rows = {}
    for name, one in scores.items():
        masks = one.masks
        shown = [math.nan] * 3 if masks is None else [100 * v for v in (masks.j_and_f, masks.j, masks.f)]
        rows[name] = [*shown, 100 * one.links.coverage, one.links.id_switches, one.links.false_tracks]
    return markdown_table(head, rows)


def _sequences(arguments: argparse.Namespace) -> Iterable[tuple[Clip, Frames]]:
    """The clips that are asked for, and in which frames their objects are measured."""
    if arguments.lvos:
        lvos = LvosSequences(arguments.lvos)
        for index in chosen(len(lvos), arguments.limit):
            clip = lvos[index]
            yield clip, span_frames(clip, lvos.span_of(clip))
        return
    clips: Any = DavisSequences(arguments.davis) if arguments.davis else SavFrames(arguments.sav)
    for index in chosen(len(clips), arguments.limit):
        yield clips[index], inner_frames(clips[index])


def _read_list(path: Path, *wanted: str) -> list[dict[str, Any]]:
    if not path.is_file():
        raise FileNotFoundError(f"no predictions at {path}: give the JSON that your program wrote")
    try:
        items = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): give what your program wrote") from error
    if not isinstance(items, list):
        raise ValueError(f"{path} is no list of predictions: give COCO's results format")
    with lacking(path):
        for item in items:
            for name in wanted:
                item[name]
    return items


def _by_pair(items: Sequence[dict[str, Any]], known: set[int]) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = {}
    for item in items:
        if item["image_id"] in known:  # others are pairs that were not annotated in full
            groups.setdefault(item["image_id"], []).append(item)
    return groups

