# SPDX-License-Identifier: Apache-2.0
"""How fast a bundle is on this machine: end to end and per engine, with what was measured on."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.config import RuntimeConfig
from esam3_core.deploy import bench_ros
from esam3_core.deploy.frames import frames
from esam3_core.deploy.gates import Clip
from esam3_core.deploy.machine import describe_machine
from esam3_core.deploy.tegrastats import Tegrastats
from esam3_core.deploy.watched import Stopwatch
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.cuda import open_driver
from esam3_core.runtime.engines import choose_backend, watching
from esam3_core.runtime.errors import EngineError
from esam3_core.runtime.student import Student

WARM_UP = 10  # frames that are not counted
Report = dict[str, Any]


def measure(bundle: Bundle, clip: Clip, config: RuntimeConfig) -> Report:
    """Track a clip twice: as a robot does, and with every engine waited for to see what each takes.

    Memory is that of the first time, when there is one student and one frame, as on a robot.

    Raises:
        ValueError: the clip is too short.
    """
    backend = choose_backend(bundle.folder, config)
    start = time.perf_counter()
    tracker = Student(bundle, config).track(clip.concepts)
    ready = time.perf_counter() - start
    with Tegrastats() as board:
        steps, tracks = _step_through(tracker, clip)
    memory = {"process": resident_mb(), **gpu_mb()}
    del tracker
    stopwatch = Stopwatch()
    with watching(stopwatch.watch):
        _step_through(Student(bundle, config).track(clip.concepts), clip)
    return {
        "bundle": bundle.name,
        "student": {"variant": bundle.student.variant, "size": bundle.student.size},
        "machine": describe_machine(),
        "backend": backend.backend,
        "why not tensorrt": backend.reason,
        "threads": config.threads,
        "clip": {"source": clip.source or "our own pictures", "concepts": list(clip.concepts), "frames": len(steps),
                 "tracks": round(float(np.mean(tracks)), 1)},
        "ready_s": round(ready, 2),
        "frame": summarise(steps),
        "frames_per_s": round(1000 / float(np.mean(steps)), 1),
        "engines": {graph: summarise(_warm(times)) for graph, times in stopwatch.times.items()},
        "memory_mb": memory,
        "board": board.summary(),
    }  # fmt: skip


def summarise(times: Sequence[float]) -> dict[str, float]:
    """Quantiles of times in ms."""
    p50, p95, p99 = (round(float(value), 3) for value in np.percentile(times, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "runs": len(times)}


def as_markdown(report: Report) -> str:
    """A report as a page."""
    machine = ", ".join(f"{name} {value}" for name, value in report["machine"].items())
    clip, student = report["clip"], report["student"]
    rows = {"**frame, end to end**": report["frame"], **report["engines"]}
    lines = [
        f"# {report['bundle']} ({student['variant']}, {student['size']} pixels) with {report['backend']}",
        "",
        f"{machine}.",
        "",
        f"{clip['frames']} frames of {clip['source']}, concepts {', '.join(clip['concepts'])}, {clip['tracks']} tracks "
        f"on average: **{report['frames_per_s']} frames/s**, ready after {report['ready_s']} s, memory "
        + ", ".join(f"{name} {value:.0f} MB" for name, value in report["memory_mb"].items()) + ".",
        *([f"Not TensorRT: {report['why not tensorrt']}"] if report["why not tensorrt"] else []),
        "",
        "| ms | p50 | p95 | p99 | runs |",
        "|---|---|---|---|---|",
        *(f"| {name} | {row['p50']} | {row['p95']} | {row['p99']} | {row['runs']} |" for name, row in rows.items()),
        "",
        *(f"{name}: {value}" for name, value in report["board"].items()),
        *([bench_ros.as_markdown(report["ros"])] if "ros" in report else []),
    ]  # fmt: skip
    return "\n".join(lines).rstrip() + "\n"


def compare(before: Report, after: Report) -> str:
    """Two reports side by side, medians in ms."""
    lines = [
        f"before: {before['bundle']} with {before['backend']} on {before['machine'].get('machine', '?')}",
        f"after:  {after['bundle']} with {after['backend']} on {after['machine'].get('machine', '?')}",
        "",
        "| ms, p50 | before | after | before / after |",
        "|---|---|---|---|",
    ]
    rows = {"frame": (before["frame"], after["frame"])}
    rows |= {graph: (before["engines"][graph], after["engines"][graph])
             for graph in before["engines"] if graph in after["engines"]}  # fmt: skip
    for name, (old, new) in rows.items():
        lines.append(f"| {name} | {old['p50']} | {new['p50']} | {old['p50'] / max(new['p50'], 1e-9):.2f} |")
    return "\n".join(lines) + "\n"


def read_report(path: Path) -> Report:
    """A bench.json.

    Raises:
        ValueError: it is none.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(report, dict) or not {"bundle", "frame", "engines", "machine", "backend"} <= set(report):
            raise ValueError("it lacks bundle, frame, engines, machine or backend")
    except ValueError as error:
        raise ValueError(f"{path} is not a report of `esam3 bench --report FOLDER`: {error}") from error
    return report


def resident_mb() -> float:
    """Memory of this process in MB."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmRSS")), 0.0)


def gpu_mb() -> dict[str, float]:
    """Memory in use on the GPU, by everything that runs there, in MB; empty without a GPU."""
    try:
        free, total = open_driver().memory()
    except EngineError:
        return {}
    return {"gpu": round((total - free) / (1 << 20), 1)}


def _step_through(tracker: Any, clip: Clip) -> tuple[list[float], list[int]]:
    """ms and number of tracks of every frame behind the warm-up; reading a frame takes no part in its time."""
    times, tracks = [], []
    for stamp, image in frames(clip.source, clip.frames + WARM_UP):
        start = time.perf_counter()
        found = tracker.step(image, stamp)
        times.append((time.perf_counter() - start) * 1e3)
        tracks.append(len(found))
    if len(times) <= WARM_UP:
        raise ValueError(f"the clip has {len(times)} frames, {WARM_UP} of them only warm up: give a longer one")
    return times[WARM_UP:], tracks[WARM_UP:]


def _warm(times: Sequence[float]) -> Sequence[float]:
    return times[WARM_UP:] or times
