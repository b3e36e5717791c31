# SPDX-License-Identifier: Apache-2.0
"""Command-line options that show something: boxes and points, with the frame they are on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from esam3_core.runtime.exemplars import Exemplar
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.track import Box

if TYPE_CHECKING:
    from esam3_core.runtime.tracker import Tracker


@dataclass(frozen=True)
class OnFrame:
    """Numbers that belong to a frame: x,y,w,h of a box, or x,y of a point; pixels."""

    numbers: tuple[float, ...]
    frame: int  # index in the source, from 0


def box(text: str) -> Box:
    """x,y,w,h as four numbers; for argparse."""
    x, y, width, height = _numbers(text, 4, "x,y,w,h")
    return x, y, width, height


def box_on_frame(text: str) -> OnFrame:
    """x,y,w,h@frame; without @frame, the first one. For argparse."""
    return _on_frame(text, 4, "x,y,w,h@frame")


def point_on_frame(text: str) -> OnFrame:
    """x,y@frame; without @frame, the first one. For argparse."""
    return _on_frame(text, 2, "x,y@frame")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `esam3 track` that show something; each may be repeated."""
    parser.add_argument(
        "--box", action="append", default=[], type=box_on_frame, metavar="X,Y,W,H@FRAME",
        help="follow the one object in this box of a frame (counted from 0; default: the first)",
    )  # fmt: skip
    parser.add_argument(
        "--point", action="append", default=[], type=point_on_frame, metavar="X,Y@FRAME",
        help="follow the one object at this point of a frame",
    )  # fmt: skip
    parser.add_argument(
        "--exemplar", action="append", default=[], type=box_on_frame, metavar="X,Y,W,H@FRAME",
        help="find and follow everything like what is in this box of a frame",
    )  # fmt: skip


def show(tracker: Tracker, image: Image, index: int, stamp: float, options: argparse.Namespace) -> None:
    """Show a tracker what the options have for the frame `index`, before it is stepped.

    Raises:
        PromptError, ConceptError, BundleError: see `Tracker.add` and `Tracker.add_exemplars`.
    """
    for one in options.box:
        if one.frame == index:
            tracker.add(image, stamp, box=one.numbers)
    for one in options.point:
        if one.frame == index:
            tracker.add(image, stamp, points=[(*one.numbers, 1)])
    exemplars = [Exemplar(one.numbers) for one in options.exemplar if one.frame == index]
    if exemplars:
        tracker.add_exemplars(image, exemplars)


def never_shown(options: argparse.Namespace, frames: int) -> list[int]:
    """Frames that options name, but a source of so many frames does not have."""
    given: Sequence[OnFrame] = [*options.box, *options.point, *options.exemplar]
    return sorted({one.frame for one in given if not 0 <= one.frame < frames})


def _on_frame(text: str, count: int, form: str) -> OnFrame:
    numbers, _, frame = text.partition("@")
    if frame and not frame.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r}: write {form}, with the number of a frame from 0")
    return OnFrame(_numbers(numbers, count, form), int(frame or 0))


def _numbers(text: str, count: int, form: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise argparse.ArgumentTypeError(f"{text!r}: write {form}, in pixels")
    return numbers
