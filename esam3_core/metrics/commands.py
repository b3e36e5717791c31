# SPDX-License-Identifier: Apache-2.0
"""`esam3 eval`: measure a bundle on held-out scenes, real pictures or a clip."""

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


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verb `eval`."""
    parser = subparsers.add_parser(
        "eval",
        help="measure a bundle on scenes, real pictures or a clip",
        description="Ask a bundle about pictures whose answers are known; print tables in per cent.",
    )
    parser.add_argument("bundle", help="name or path of a bundle")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--scenes", type=Path, help="folder of scene shards (*.tar)")
    data.add_argument("--real", type=Path, help="folder of real pictures (images/, labels/)")
    data.add_argument("--clip", type=Path, help="video, with --masks and --concept")
    parser.add_argument("--split", choices=("val", "all"), default="val", help="which real pictures (default: val)")
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
    from esam3_core.metrics.report import write_json

    if arguments.clip and not (arguments.masks and arguments.concept):
        raise ValueError("--clip needs --masks and --concept: name what the masks show")
    markdown, summary = (run_clip if arguments.clip else run_pictures)(load_student(arguments), arguments)
    print(markdown)
    if arguments.json:
        write_json(summary, arguments.json)
    if arguments.markdown:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        arguments.markdown.write_text(markdown, encoding="utf-8")
    return 0


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

    folder = RealFolder(arguments.real, arguments.split)
    return folder, partial(real_questions, claimed=student.concepts), f"{arguments.real.name} ({arguments.split})"


def run_clip(student: Student, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """A clip: the table and the summary."""
    from esam3_core.metrics.clip import clip_markdown, evaluate_clip, read_masks

    scores = evaluate_clip(student, arguments.clip, read_masks(arguments.masks), arguments.concept)
    about = {"bundle": student.bundle.name, "data": arguments.clip.name, "concept": arguments.concept}
    markdown = clip_markdown(about["bundle"], about["data"], arguments.concept, scores)
    return markdown, {**about, **scores.as_dict()}
