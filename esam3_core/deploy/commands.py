# SPDX-License-Identifier: Apache-2.0
"""`esam3 build`, `verify`, `bench`, `doctor` and `roofline`: a bundle on the board that runs it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from esam3_core.deploy.gates import Clip

PRECISIONS = ("fp16", "fp32", "bf16", "int8")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verbs."""
    _add_build(subparsers)
    verify = subparsers.add_parser("verify", help="prove that typed graphs and engines say what the bundle says")
    _add_bundle(verify)
    verify.add_argument("--precision", choices=PRECISIONS, default="fp16", help="default: %(default)s")
    verify.add_argument("--search", action="store_true", help="note in the bundle what must stay in single precision")
    _add_clip(verify, 120)
    verify.add_argument("--report", type=Path, metavar="FOLDER", help="write verify.md and verify.json there")
    verify.set_defaults(run=run_verify)

    bench = subparsers.add_parser("bench", help="measure a bundle on this machine")
    _add_bundle(bench)
    _add_clip(bench, 200)
    bench.add_argument("--backend", default="auto", help="auto, onnxruntime or tensorrt (default: %(default)s)")
    bench.add_argument("--device", default="auto", help="auto, cpu or cuda:0 (default: %(default)s)")
    bench.add_argument("--threads", type=int, default=0, help="CPU threads, 0 = all (default: %(default)s)")
    bench.add_argument("--ros", action="store_true", help="measure through the ROS nodes as well")
    bench.add_argument("--report", type=Path, metavar="FOLDER", help="write bench.md, bench.json and bench.svg there")
    bench.add_argument(
        "--compare", nargs=2, type=Path, metavar="JSON", help="instead of measuring, compare two bench.json"
    )
    bench.set_defaults(run=run_bench)

    doctor = subparsers.add_parser("doctor", help="look at driver, TensorRT, ROS and power mode; say what to fix")
    _add_bundle(doctor)
    doctor.set_defaults(run=run_doctor)

    roofline = subparsers.add_parser("roofline", help="estimate, from a bundle's arithmetic, what a board can reach")
    _add_bundle(roofline)
    roofline.add_argument("--precision", choices=("fp16", "int8"), default="fp16", help="default: %(default)s")
    roofline.add_argument("--tracks", type=int, default=5, help="default: %(default)s")
    roofline.add_argument("--concepts", type=int, default=1, help="default: %(default)s")
    roofline.set_defaults(run=run_roofline)


def _add_build(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    build = subparsers.add_parser("build", help="build the TensorRT engines of a bundle on this machine")
    _add_bundle(build)
    build.add_argument("--precision", choices=PRECISIONS, default="fp16", help="default: %(default)s")
    build.add_argument(
        "--board", default="auto", help="orin-nano, orin-nx, agx-orin, thor, dgpu or auto (default: %(default)s)"
    )
    build.add_argument("--workspace", type=int, default=0, metavar="MB", help="memory a layer may borrow (the board's)")
    build.add_argument("--level", type=int, choices=range(6), default=3, help="longer search for speed (default: 3)")
    build.add_argument("--again", action="store_true", help="build even what is already there")
    build.add_argument(
        "--check", action="store_true", help="without a GPU: see whether every graph parses and builds; keeps nothing"
    )
    _add_clip(build, 120)
    build.set_defaults(run=run_build)


def _add_bundle(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", nargs="?", default="tabletop", help="name or folder (default: %(default)s)")


def _add_clip(parser: argparse.ArgumentParser, frames: int) -> None:
    parser.add_argument("--source", help="video, folder of images or bag (default: pictures that esam3 brings)")
    parser.add_argument("--concept", action="append", metavar="NOUN", help="what the source shows; may be repeated")
    parser.add_argument("--frames", type=int, default=frames, help="default: %(default)s")


def _clip(arguments: argparse.Namespace) -> Clip:
    from esam3_core.deploy.gates import Clip

    if arguments.source and not arguments.concept:
        raise ValueError("with --source, say what it shows: --concept cup")
    if arguments.frames < 1:
        raise ValueError(f"--frames is {arguments.frames}: it must be at least 1")
    return Clip(arguments.source, tuple(arguments.concept or Clip.concepts), arguments.frames)


def run_build(arguments: argparse.Namespace) -> int:
    """Build or check; 1 if a graph failed the check."""
    from esam3_core.deploy.build import BuildConfig, build_bundle, check_bundle
    from esam3_core.deploy.presets import BOARDS
    from esam3_core.runtime.bundle import Bundle

    if arguments.board not in ("auto", *BOARDS):
        raise ValueError(f"unknown board {arguments.board!r}: choose auto, {', '.join(BOARDS)}")
    bundle = Bundle.load(arguments.bundle)
    if arguments.check:
        rows = check_bundle(bundle, arguments.precision, workspace=arguments.workspace << 20)
        failed = [row.graph for row in rows if row.problem or row.unsupported]
        verdict = f"failed: {', '.join(failed)}" if failed else "every graph builds"
        print(f"{bundle.name}, {arguments.precision}: {verdict}")
        return 1 if failed else 0
    config = BuildConfig(
        arguments.precision, arguments.board, arguments.workspace << 20, arguments.level, arguments.again
    )
    print(f"engines in {build_bundle(bundle, config, _clip(arguments))}")
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Run the gates; 1 if one fails."""
    from esam3_core.deploy.verdict import as_json, as_markdown, failure
    from esam3_core.deploy.verify import verify
    from esam3_core.runtime.bundle import Bundle
    from esam3_core.runtime.outputs import check_outputs

    check_outputs(folders=[arguments.report])
    verdict = verify(Bundle.load(arguments.bundle), arguments.precision, _clip(arguments), arguments.search)
    print(as_markdown(verdict))
    if arguments.report:
        _write(arguments.report, "verify", as_markdown(verdict), as_json(verdict))
    for finding in verdict.failed:
        print(failure(finding))
    return 1 if verdict.failed else 0


def run_bench(arguments: argparse.Namespace) -> int:
    """Measure, or compare two measurements."""
    from esam3_core.config import RuntimeConfig
    from esam3_core.deploy.bench import as_markdown, compare, measure, read_report
    from esam3_core.deploy.bench_plot import as_svg
    from esam3_core.runtime.bundle import Bundle
    from esam3_core.runtime.outputs import check_outputs

    if arguments.compare:
        print(compare(*(read_report(path) for path in arguments.compare)))
        return 0
    check_outputs(folders=[arguments.report])
    config = RuntimeConfig(backend=arguments.backend, device=arguments.device, threads=arguments.threads)
    bundle, clip = Bundle.load(arguments.bundle), _clip(arguments)
    report = measure(bundle, clip, config)
    if arguments.ros:
        from esam3_core.deploy.bench_ros import measure_ros

        report["ros"] = measure_ros(bundle, clip, config)
    print(as_markdown(report))
    if arguments.report:
        _write(arguments.report, "bench", as_markdown(report), report)
        (arguments.report / "bench.svg").write_text(as_svg(report), encoding="utf-8")
    return 0


def run_doctor(arguments: argparse.Namespace) -> int:
    """Look at everything; 1 if something must be fixed."""
    from esam3_core.deploy.doctor import as_text, examine

    findings = examine(arguments.bundle)
    print(as_text(findings))
    return 1 if any(finding.level == "bad" for finding in findings) else 0


def run_roofline(arguments: argparse.Namespace) -> int:
    """Print the estimate."""
    from esam3_core.deploy.roofline import as_markdown, estimate
    from esam3_core.runtime.bundle import Bundle

    bundle = Bundle.load(arguments.bundle)
    wanted = (arguments.precision, arguments.tracks, arguments.concepts)
    print(as_markdown(bundle, estimate(bundle, *wanted), *wanted))
    return 0


def _write(folder: Path, name: str, page: str, values: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(page, encoding="utf-8")
    (folder / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
