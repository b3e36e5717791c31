# SPDX-License-Identifier: Apache-2.0
"""`esam3 build`: TensorRT engines of a bundle."""

from __future__ import annotations

import argparse

PRECISIONS = ("fp16", "fp32", "bf16", "int8")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verb `build`."""
    build = subparsers.add_parser("build", help="build the TensorRT engines of a bundle on this machine")
    build.add_argument("bundle", nargs="?", default="tabletop", help="name or folder (default: %(default)s)")
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
    build.set_defaults(run=run_build)


def run_build(arguments: argparse.Namespace) -> int:
    """Build or check; 1 if a graph failed the check."""
    from esam3_core.deploy.build import BuildConfig, build_bundle, check_bundle
    from esam3_core.deploy.presets import BOARDS
    from esam3_core.runtime.bundle import Bundle

    if arguments.board not in ("auto", *BOARDS):
        raise ValueError(f"unknown board {arguments.board!r}: choose auto, {', '.join(BOARDS)}")
    bundle = Bundle.load(arguments.bundle)
    if arguments.check:
        rows = check_bundle(bundle, arguments.precision)
        failed = [row.graph for row in rows if row.problem]
        verdict = f"failed: {', '.join(failed)}" if failed else "every graph builds"
        print(f"{bundle.name}, {arguments.precision}: {verdict}")
        return 1 if failed else 0
    config = BuildConfig(
        arguments.precision, arguments.board, arguments.workspace << 20, arguments.level, arguments.again
    )
    print(f"engines in {build_bundle(bundle, config)}")
    return 0
