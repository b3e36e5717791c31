# SPDX-License-Identifier: Apache-2.0
"""`esam3 segment` and `esam3 track`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from esam3_core.config import TRACKERS, RuntimeConfig
from esam3_core.runtime import shown_options
from esam3_core.runtime.interrupt import INTERRUPTED, held_interrupt
from esam3_core.runtime.outputs import check_outputs

if TYPE_CHECKING:
    from esam3_core.runtime import Detection, Student, Track, Tracker


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verbs `segment` and `track`."""
    segment = subparsers.add_parser("segment", help="find concepts in images")
    segment.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="an image, or a folder of images")
    _add_common(segment)
    segment.add_argument(
        "--box", action="append", default=[], type=shown_options.box, metavar="X,Y,W,H",
        help="find everything like what is in this box of the image; may be repeated",
    )  # fmt: skip
    segment.add_argument("--json", type=Path, metavar="FILE", help="write what was found, masks as COCO RLE")
    segment.add_argument("--overlay", type=Path, metavar="FOLDER", help="write pictures of what was found")
    segment.set_defaults(run=run_segment)

    track = subparsers.add_parser("track", help="follow concepts through a video, images, a webcam or a bag")
    track.add_argument(
        "source", metavar="SOURCE", help="video file, folder of images, number of a webcam, or rosbag2 (folder or file)"
    )
    _add_common(track)
    shown_options.add_options(track)
    track.add_argument(
        "--tracker", choices=TRACKERS, help="iou links detections, memory also remembers (default: the bundle's)"
    )
    track.add_argument(
        "--detect-every", type=int, metavar="N",
        help="look for each concept on every n-th frame; memory follows in between (default: the bundle's)",
    )  # fmt: skip
    track.add_argument("--max-tracks", type=int, metavar="N", help="at most so many tracks (default: the bundle's)")
    track.add_argument("--load-memory", type=Path, metavar="FILE", help="go on with what was saved")
    track.add_argument("--save-memory", type=Path, metavar="FILE", help="save what is remembered at the end")
    track.add_argument("--out", type=Path, metavar="FILE.mp4", help="write a video of the tracks")
    track.add_argument("--jsonl", type=Path, metavar="FILE", help="write one line of JSON per frame")
    track.add_argument("--topic", help="image topic of a bag; default: its first one")
    track.set_defaults(run=run_track)


def _add_common(parser: argparse.ArgumentParser) -> None:
    default = RuntimeConfig()
    parser.add_argument(
        "--concept", action="append", default=[], metavar="NOUN", help="such as cup or 'red mug'; may be repeated"
    )
    parser.add_argument("--bundle", default="tabletop", help="name or folder of a bundle (default: %(default)s)")
    parser.add_argument(
        "--score", type=float, metavar="0..1", help="least score of a detection (default: the bundle's)"
    )
    parser.add_argument("--device", default=default.device, help="auto, cpu or cuda:0 (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=default.threads, help="CPU threads, 0 = all (default: %(default)s)"
    )


def run_segment(arguments: argparse.Namespace) -> int:
    """Segment every image; 1 if one of them could not be read, 130 after Ctrl-C; the others are written."""
    from tqdm import tqdm

    from esam3_core.runtime.errors import ConceptError, SourceError
    from esam3_core.runtime.exemplars import Exemplar
    from esam3_core.runtime.results import image_record
    from esam3_core.runtime.sources import find_images, read_image

    if not arguments.concept and not arguments.box:
        raise ConceptError("nothing to look for: give --concept NOUN, or --box X,Y,W,H around such a thing")
    check_outputs(files=[arguments.json], folders=[arguments.overlay], sources=arguments.images)
    student = _load(arguments)
    exemplars = [Exemplar(box) for box in arguments.box]
    paths = [path for given in arguments.images for path in (find_images(given) if given.is_dir() else [given])]
    records: list[dict[str, Any]] = []
    failures = 0
    with held_interrupt() as interrupted, _written_at_the_end(records, arguments.json):
        for number, path in enumerate(tqdm(paths, unit="image", disable=None), start=1):
            if interrupted():
                return _stopped()
            try:
                image = read_image(path)
            except SourceError as error:
                tqdm.write(f"esam3: {error}", file=sys.stderr)
                failures += 1
                continue
            found = student.segment(image, arguments.concept, exemplars)
            records.append(image_record(str(path), image.shape[:2], found))
            if arguments.overlay:
                _write_overlay(arguments.overlay / f"{number:04d}_{path.stem}.png", image, found)
            if not arguments.json:
                tqdm.write(_summary_of_image(path, found))
    return 1 if failures else 0


def run_track(arguments: argparse.Namespace) -> int:
    """Track through a source; 1 if something was to be shown on a frame that never came, 130 after Ctrl-C."""
    from tqdm import tqdm

    from esam3_core.runtime.errors import ConceptError
    from esam3_core.runtime.overlay import draw
    from esam3_core.runtime.results import frame_record
    from esam3_core.runtime.sources import open_source
    from esam3_core.runtime.video import VideoWriter

    if not any((arguments.concept, arguments.box, arguments.point, arguments.exemplar, arguments.load_memory)):
        raise ConceptError(
            "nothing to follow: give --concept NOUN, --box X,Y,W,H@FRAME, --point X,Y@FRAME, --exemplar X,Y,W,H@FRAME "
            "or --load-memory FILE"
        )
    written = [arguments.out, arguments.jsonl, arguments.save_memory]
    check_outputs(files=written, sources=[Path(arguments.source)])
    source = open_source(arguments.source, arguments.topic)
    video = VideoWriter(arguments.out, source.rate) if arguments.out else None
    tracker = _make_tracker(arguments)
    lives: dict[int, _Life] = {}
    frames, start = 0, time.perf_counter()
    with ExitStack() as stack:
        interrupted = stack.enter_context(held_interrupt())
        if video:
            stack.enter_context(video)
        lines = None
        if arguments.jsonl:
            arguments.jsonl.parent.mkdir(parents=True, exist_ok=True)
            lines = stack.enter_context(arguments.jsonl.open("w", encoding="utf-8"))
        if arguments.save_memory:
            stack.callback(tracker.save, arguments.save_memory)
        for index, stamp, image in tqdm(source, total=source.length, unit="frame", disable=None):
            shown_options.show(tracker, image, index, stamp, arguments)
            tracks = tracker.step(image, stamp)
            frames += 1
            for track in tracks:
                lives.setdefault(track.id, _Life(track)).see(track)
            if lines:
                lines.write(json.dumps(frame_record(index, stamp, tracks)) + "\n")
            if video:
                video.write(draw(image, tracks))
            if interrupted():
                break
    seconds = time.perf_counter() - start
    print(f"{frames} frames in {seconds:.1f} s ({frames / max(seconds, 1e-9):.1f} frames/s), {len(lives)} tracks")
    for life in lives.values():
        print(f"  {life}")
    if interrupted():
        return _stopped()
    if unseen := shown_options.never_shown(arguments, frames):
        print(f"esam3: there is no frame {', '.join(map(str, unseen))} to show anything on", file=sys.stderr)
    return 1 if unseen else 0


def _stopped() -> int:
    print("stopped; what was written so far is whole", file=sys.stderr)
    return INTERRUPTED


@contextmanager
def _written_at_the_end(records: list[dict[str, Any]], path: Path | None) -> Iterator[None]:
    """Write what the block has put into `records`, also if it fails or is interrupted."""
    try:
        yield
    finally:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


class _Life:
    """What a track did, for the summary."""

    def __init__(self, track: Track) -> None:
        self._first = self._last = track
        self._seen = 0  # frames

    def see(self, track: Track) -> None:
        self._last = track
        self._seen += track.state != "occluded"

    def __str__(self) -> str:
        span = f"{self._first.first_seen:.2f}..{self._last.last_seen:.2f} s"
        return (
            f"{self._last.concept} {self._last.id}: seen in {self._seen} frames, {span}, score {self._last.score:.2f}"
        )


def _make_tracker(arguments: argparse.Namespace) -> Tracker:
    from esam3_core.runtime.errors import Esam3Error

    student = _load(arguments)
    named = {name: getattr(arguments, name) for name in ("tracker", "detect_every", "max_tracks")}
    chosen = {name: value for name, value in named.items() if value is not None}
    tracker = student.track(config=replace(student.bundle.tracker, **chosen))
    if arguments.save_memory and not tracker.has_memory:
        student.bundle.graph("propagator")  # says what is missing before the work is done
        raise Esam3Error("--save-memory needs a tracker with memory: leave out --tracker iou")
    if arguments.load_memory:
        tracker.load(arguments.load_memory)
    if arguments.concept:
        tracker.concepts = [*tracker.concepts, *arguments.concept]
    return tracker


def _load(arguments: argparse.Namespace) -> Student:
    import esam3_core
    from esam3_core.runtime.text import normalise_all

    # A concept that cannot be used should not wait for the engines to load.
    concepts = normalise_all(arguments.concept)
    student = esam3_core.load(arguments.bundle, RuntimeConfig(device=arguments.device, threads=arguments.threads))
    if arguments.score is not None:
        student.detector = replace(student.detector, score_threshold=arguments.score)
    if doubt := student.doubt(concepts):
        print(f"esam3: {doubt}", file=sys.stderr)
    return student


def _write_overlay(path: Path, image: Any, found: list[Detection]) -> None:
    import cv2

    from esam3_core.runtime.overlay import draw

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(draw(image, found), cv2.COLOR_RGB2BGR))[1].tobytes())


def _summary_of_image(path: Path, found: list[Detection]) -> str:
    lines = [
        f"  {one.concept} {one.score:.2f} box " + " ".join(f"{side:.0f}" for side in one.box) + f" area {one.crop.area}"
        for one in found
    ]
    return "\n".join([f"{path}: {len(found)} found", *lines])
