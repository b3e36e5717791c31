# SPDX-License-Identifier: Apache-2.0
"""`esam3 scenes render` and `esam3 scenes sheet`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from esam3_core.config import SPLITS, SceneConfig

_DEFAULT = SceneConfig()
BUSY: dict[str, Any] = {
    "objects": (3, 8), "distractors": (0, 3), "empty": 0.0, "distance": (0.35, 1.1), "elevation": (8.0, 60.0),
    "sweep": (10.0, 70.0), "movers": 1.0, "kicks": 0.6,
}  # fmt: skip
"""Worlds for clips: near and low, so that things hide each other and leave the frame, with hands, pushes and a camera
that swings."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verb `scenes`."""
    verb = subparsers.add_parser("scenes", help="render the synthetic tabletop world")
    actions = verb.add_subparsers(dest="action", metavar="ACTION", required=True)
    render = actions.add_parser("render", help="write shards of frames with masks, depth and phrases")
    render.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="folder for the shards; finished ones are kept when the command is repeated",
    )
    _common(render)
    render.add_argument("--scenes", type=int, default=100, help="number of worlds (default: %(default)s)")
    render.add_argument("--frames", type=int, default=8, help="frames of each world (default: %(default)s)")
    render.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    render.set_defaults(run=run_render)
    sheet = actions.add_parser("sheet", help="draw a contact sheet with masks and phrases")
    sheet.add_argument("out", type=Path, metavar="OUT.png", help="picture to write")
    _common(sheet)
    sheet.add_argument("--scenes", type=int, default=20, help="number of worlds (default: %(default)s)")
    sheet.add_argument("--columns", type=int, default=5, help="pictures in a row (default: %(default)s)")
    sheet.add_argument("--plain", action="store_true", help="pictures without masks and phrases")
    sheet.set_defaults(run=run_sheet)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--split", choices=SPLITS, default=_DEFAULT.split, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=_DEFAULT.width, help="pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=_DEFAULT.height, help="pixels (default: %(default)s)")
    parser.add_argument(
        "--fps",
        type=float,
        default=_DEFAULT.fps,
        help="frames per second of world time: low for varied stills, 15..30 for clips (default: %(default)s)",
    )
    parser.add_argument("--busy", action="store_true", help="things hide each other, leave and come back: for clips")
    parser.add_argument("--quality", choices=("full", "fast"), default=_DEFAULT.quality, help="default: %(default)s")


def _config(arguments: argparse.Namespace) -> SceneConfig:
    return SceneConfig(
        width=arguments.width,
        height=arguments.height,
        split=arguments.split,
        fps=arguments.fps,
        quality=arguments.quality,
        **(BUSY if arguments.busy else {}),
    )


def run_render(arguments: argparse.Namespace) -> int:
    """Render shards; exit status 1 when some worlds could not be built."""
    from esam3_core.scenes.shards import render

    totals = render(
        arguments.out, _config(arguments), arguments.seed, arguments.scenes, arguments.frames, arguments.workers
    )
    print(
        f"{arguments.out}: {totals.samples} samples in {totals.shards} new shards, "
        f"{totals.kept_shards} shards were there, {totals.failed_scenes} worlds failed"
    )
    return 1 if totals.failed_scenes else 0


def run_sheet(arguments: argparse.Namespace) -> int:
    """Draw a contact sheet."""
    import cv2

    from esam3_core.scenes.sheet import draw_sheet

    if arguments.out.suffix.lower() not in (".png", ".jpg"):
        raise ValueError(f"{arguments.out}: a sheet is a picture, name it .png or .jpg")
    if not arguments.out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {arguments.out.parent}: make it first")
    picture = draw_sheet(_config(arguments), arguments.seed, arguments.scenes, arguments.columns, arguments.plain)
    if not cv2.imwrite(str(arguments.out), picture[..., ::-1]):
        raise OSError(f"{arguments.out} could not be written: choose another folder or change its permissions")
    print(f"{arguments.out}: {arguments.scenes} worlds, {picture.shape[1]}x{picture.shape[0]}")
    return 0
