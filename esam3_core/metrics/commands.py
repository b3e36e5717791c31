# SPDX-License-Identifier: Apache-2.0
"""`esam3 eval`: measure a bundle on held-out scenes, real pictures, a clip or a benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from esam3_core.data.sample import Sample
    from esam3_core.metrics.evaluate import Samples
    from esam3_core.metrics.questions import Question
    from esam3_core.runtime.student import Student


BENCHMARKS = ("saco", "veval", "coco", "lvis", "davis", "lvos", "sav", "scene_clips")
"""Arguments that name data with rules of its own."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verb `eval`."""
    parser = subparsers.add_parser(
        "eval",
        help="measure a bundle on scenes, real pictures, a clip or a benchmark",
        description="Ask a bundle about pictures whose answers are known; print tables in per cent.",
    )
    parser.add_argument("bundle", nargs="?", help="name or path of a bundle; none with --predictions or --results")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--scenes", type=Path, help="folder of scene shards (*.tar)")
    data.add_argument("--real", type=Path, help="folder of real pictures (images/, labels/)")
    data.add_argument("--clip", type=Path, help="video, with --masks and --concept")
    data.add_argument("--scene-clips", type=Path, help="folder of scene shards with several frames a world")
    data.add_argument("--saco", type=Path, nargs="+", help="SA-Co Gold or Silver: one JSON per annotator")
    data.add_argument("--veval", type=Path, help="SA-Co/VEval: its JSON")
    data.add_argument("--coco", type=Path, help="COCO: instances_*.json; objects are prompted")
    data.add_argument("--lvis", type=Path, help="LVIS: lvis_v1_*.json; objects are prompted")
    data.add_argument("--davis", type=Path, help="DAVIS 2017: its folder; objects are given by their first mask")
    data.add_argument("--lvos", type=Path, help="LVOS: its folder; objects are given by their first mask")
    data.add_argument("--sav", type=Path, help="SA-V: sav_val or sav_test; objects are given by their first mask")
    parser.add_argument("--pictures", type=Path, help="folder of the pictures of --saco, --veval, --coco and --lvis")
    parser.add_argument(
        "--prompt", action="append", choices=("box", "point"), help="how --coco, --lvis and --real show objects"
    )
    parser.add_argument("--predictions", type=Path, help="JSON that another program wrote for --saco or --veval")
    parser.add_argument("--results", type=Path, help="PNGs that another program wrote for --davis, --lvos or --sav")
    parser.add_argument("--split", choices=("val", "all"), help="which real pictures (default: val)")
    parser.add_argument("--masks", type=Path, help="masks of some frames of the clip (.npz)")
    parser.add_argument("--concept", help="what the clip's masks show")
    parser.add_argument("--limit", type=int, default=0, help="pictures, spread over the folder (default: all)")
    parser.add_argument("--threshold", type=float, help="score from which a detection counts (default: the bundle's)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (default: all)")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file too")
    parser.add_argument("--plots", type=Path, help="folder for figures and sheets of the best and worst answers")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; ValueError or OSError for bad input."""
    from esam3_core.metrics.options import check_options
    from esam3_core.metrics.provenance import foot, provenance
    from esam3_core.metrics.report import write_json
    from esam3_core.runtime.outputs import check_outputs

    check_options(arguments)
    check_outputs(files=[arguments.json, arguments.markdown], folders=[arguments.plots])
    markdown, summary = measure(arguments)
    bundle = _bundle_folder(arguments)
    made_of = provenance(arguments.words, bundle, _measured_on(arguments))
    name = "stored answers" if bundle is None else bundle.name
    summary = {"bundle": name, "data": _data_name(arguments), **summary, "made_of": made_of}
    markdown += "\n" + foot(made_of)
    print(markdown)
    if arguments.json:
        write_json(summary, arguments.json)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(markdown, encoding="utf-8")
    return 0


def measure(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The tables and the summary of what the arguments, which have been checked, name."""
    student = load_student(arguments) if arguments.bundle else None
    for name in BENCHMARKS:
        if getattr(arguments, name):
            from esam3_core.metrics.benchmarks import RUNS

            return RUNS[name](student, arguments)
    assert student is not None
    if arguments.real and arguments.prompt:
        from esam3_core.metrics.benchmarks import run_prompted

        return run_prompted(student, arguments)
    return (run_clip if arguments.clip else run_pictures)(student, arguments)


def load_student(arguments: argparse.Namespace) -> Student:
    """The bundle, its score threshold replaced if one is given."""
    import dataclasses

    import esam3_core
    from esam3_core.config import RuntimeConfig

    config = RuntimeConfig(threads=arguments.threads, max_concepts=16, text_cache=4096)
    student = esam3_core.load(arguments.bundle, config)
    if arguments.threshold is not None:
        student.detector = dataclasses.replace(student.detector, score_threshold=arguments.threshold)
    return student


def run_pictures(student: Student, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Scenes or real pictures: the tables and the summary."""
    from esam3_core.metrics.evaluate import chosen, evaluate
    from esam3_core.metrics.report import summarise, to_markdown

    samples, ask, data = open_data(student, arguments)
    pairs = evaluate(student, samples, ask, arguments.limit)
    if not pairs:
        raise ValueError(f"{data} holds no picture that says anything about this bundle's concepts")
    threshold = student.detector.score_threshold
    summary = summarise(pairs, threshold, bundle=student.bundle.name, data=data)
    if arguments.plots:
        from esam3_core.metrics.plots import draw_plots
        from esam3_core.metrics.sheet import draw_sheets

        draw_plots(summary, arguments.plots)
        indices = chosen(len(samples), arguments.limit)
        draw_sheets(student, samples, indices, ask, pairs, threshold, arguments.plots)
    return to_markdown(summary), summary


def open_data(
    student: Student, arguments: argparse.Namespace
) -> tuple[Samples, Callable[[Sample], list[Question]], str]:
    """The samples, who asks about them, and their name."""
    from esam3_core.metrics.questions import real_questions, scene_questions

    if arguments.scenes:
        from esam3_core.data.scenes import SceneShards

        return SceneShards(arguments.scenes), scene_questions, arguments.scenes.name
    from esam3_core.data.real import RealFolder
    from esam3_core.metrics.options import SPLIT

    split = arguments.split or SPLIT
    folder = RealFolder(arguments.real, split)
    return folder, partial(real_questions, claimed=student.concepts), f"{arguments.real.name} ({split})"


def run_clip(student: Student, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A clip: the table and the summary."""
    from esam3_core.metrics.clip import clip_markdown, evaluate_clip, read_masks

    scores = evaluate_clip(student, arguments.clip, read_masks(arguments.masks), arguments.concept)
    about = {"bundle": student.bundle.name, "data": arguments.clip.name, "concept": arguments.concept}
    markdown = clip_markdown(about["bundle"], about["data"], arguments.concept, scores)
    return markdown, {**about, **scores.as_dict()}


def _measured_on(arguments: argparse.Namespace) -> list[Path]:
    """Files and folders that decide the numbers."""
    given = [getattr(arguments, name) for name in ("scenes", "real", "clip", "masks", *BENCHMARKS)]
    stored = [arguments.predictions, arguments.results]
    return [path for item in (*given, *stored) if item for path in (item if isinstance(item, list) else [item])]


def _data_name(arguments: argparse.Namespace) -> str:
    return ", ".join(path.name for path in _measured_on(arguments)[:1])


def _bundle_folder(arguments: argparse.Namespace) -> Path | None:
    if not arguments.bundle:
        return None
    from esam3_core.runtime.bundle import find_bundle

    return find_bundle(arguments.bundle)
