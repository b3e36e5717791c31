# SPDX-License-Identifier: Apache-2.0
"""A bundle on the CPU: torch eager against its exported graphs in ONNX Runtime, and those in int8, on the same frames.

    python bench/cpu_engines.py [--bundle tabletop] [--frames 60] [--threads 2] [--json FILE]
    python bench/cpu_engines.py --int8 out/tabletop-int8      # also keeps the int8 graphs as a bundle, for `esam3 eval`
    python bench/cpu_engines.py --busy --threads 1            # processor time: where other programs use the machine too

Graphs are fed with what the tracker fed them; whole frames are the tracker's, the engines exchanged. The kinds take
turns, so that a change of the machine's clock meets all of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.frames import frames
from esam3_core.deploy.gates import Clip, record
from esam3_core.deploy.loop import Loop
from esam3_core.deploy.torch_reference import torch_runs
from esam3_core.deploy.typed_graphs import prepared, read_kept
from esam3_core.runtime.bundle import Bundle, file_digest
from esam3_core.runtime.engines import Engine, OnnxEngine, watching
from esam3_core.runtime.student import Student

WARM_UP = 5  # frames or runs that are not counted
ROUNDS = 3  # turns of every kind
Run = Callable[[Mapping[str, Any]], Any]
Replace = Callable[[Path, Engine], Engine]
Clock = Callable[[], float]


class TorchEngine:
    """A graph computed by torch, with the interface of an engine."""

    def __init__(self, engine: Engine, run: Run) -> None:
        self.inputs, self.outputs, self._run = engine.inputs, engine.outputs, run

    def run(self, feeds: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        """All outputs as arrays; on a CPU there is nothing to keep."""
        return dict(self._run(feeds))


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="tabletop", help="name or path (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=60, help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--int8", type=Path, metavar="FOLDER", help="measure int8 as well, and keep it as a bundle")
    parser.add_argument("--busy", action="store_true", help="processor time of all threads instead of the clock's")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    clock: Clock = time.process_time if arguments.busy else time.perf_counter
    torch.set_num_threads(arguments.threads)
    config = RuntimeConfig(device="cpu", threads=arguments.threads)
    bundle, clip = Bundle.load(arguments.bundle), Clip(frames=arguments.frames)
    with tempfile.TemporaryDirectory() as scratch:
        kinds: dict[str, tuple[Bundle, Replace]] = {
            "torch": (bundle, with_torch(bundle)),
            "onnxruntime": (bundle, lambda _, engine: engine),
        }
        feeds = record(bundle, clip)
        if arguments.int8:
            quantised = write_int8(bundle, feeds, Path(scratch) / "int8")
            kinds["int8"] = (Bundle.load(quantised), lambda _, engine: engine)
        rows = [*graph_rows(kinds, feeds, config, clock), frame_row(kinds, clip, config, clock)]
        reference = Loop(bundle, clip)
        loop = {kind: reference.judge(config, only(*kinds[kind], config)).mean for kind in kinds}
        if arguments.int8:
            shutil.copytree(Path(scratch) / "int8", arguments.int8)
    of = "median processor time" if arguments.busy else "median"
    print(
        f"{bundle.name}, {bundle.student.variant}, {bundle.student.size} pixels, {arguments.threads} threads; {of}, ms"
    )
    print_table(rows)
    print("masks beside those of ONNX Runtime, mean IoU: " + ", ".join(f"{k} {v:.4f}" for k, v in loop.items()))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        result = {
            "bundle": bundle.name, "threads": arguments.threads, "busy": arguments.busy, "rows": rows, "mask_iou": loop,
        }  # fmt: skip
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def with_torch(bundle: Bundle) -> Replace:
    """Exchanges every engine for the torch student's part."""
    runs = torch_runs(bundle)
    return lambda path, engine: TorchEngine(engine, runs[path.stem])


def only(bundle: Bundle, replace: Replace, config: RuntimeConfig) -> Replace:
    """The engines of one kind in place of the reference's."""
    return lambda path, _: replace(path, OnnxEngine(bundle.graphs[path.stem], config))


def graph_rows(
    kinds: Mapping[str, tuple[Bundle, Replace]], feeds: Mapping[str, Sequence[Any]], config: RuntimeConfig,
    clock: Clock,
) -> list[dict[str, Any]]:  # fmt: skip
    """Median ms of every graph by every kind."""
    rows = []
    for graph, runs in feeds.items():
        engines = {
            kind: replace(bundle.graphs[graph], OnnxEngine(bundle.graphs[graph], config))
            for kind, (bundle, replace) in kinds.items()
        }
        times: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(ROUNDS):
            for kind, engine in engines.items():
                timed = [measure(engine.run, one, clock) for one in [runs[0]] * WARM_UP + list(runs) * 3]
                times[kind] += timed[WARM_UP:]
        rows.append(row(graph, times))
    return rows


def frame_row(
    kinds: Mapping[str, tuple[Bundle, Replace]], clip: Clip, config: RuntimeConfig, clock: Clock
) -> dict[str, Any]:
    """Median ms of a tracker's whole frame by every kind."""
    shown = list(frames(clip.source, clip.frames + WARM_UP))
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(ROUNDS):
        for kind, (bundle, replace) in kinds.items():
            with watching(replace):
                tracker = Student(bundle, config).track(clip.concepts)
                steps = [measure(lambda pair: tracker.step(pair[1], pair[0]), pair, clock) for pair in shown]  # noqa: B023
            times[kind] += steps[WARM_UP:]
    return row("frame, end to end", times)


def row(name: str, times: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Medians, and how many times as long torch takes."""
    medians = {kind: float(np.median(values)) for kind, values in times.items()}
    ratios = {f"torch / {kind}": round(medians["torch"] / ms, 2) for kind, ms in medians.items() if kind != "torch"}
    return {"graph": name, **{kind: round(ms, 2) for kind, ms in medians.items()}, **ratios}


def write_int8(bundle: Bundle, feeds: Mapping[str, Sequence[Any]], folder: Path) -> Path:
    """A bundle with quantise and dequantise nodes, but for what its precision.json leaves out; the rest is single."""
    shutil.copytree(bundle.folder, folder)
    kept = read_kept(bundle, "int8")
    card = yaml.safe_load((folder / "student.yaml").read_text(encoding="utf-8"))
    for graph, path in bundle.graphs.items():
        target = folder / path.name
        onnx.save(prepared(bundle, graph, "int8", feeds, kept.get(graph, ())), str(target))
        card["graphs"][graph]["sha256"] = file_digest(target)
    card["name"] = f"{bundle.name}-int8"
    (folder / "student.yaml").write_text(yaml.safe_dump(card, sort_keys=False), encoding="utf-8")
    return folder


def measure(run: Callable[[Any], Any], argument: Any, clock: Clock) -> float:
    """ms of one call."""
    start = clock()
    run(argument)
    return (clock() - start) * 1e3


def print_table(rows: list[dict[str, Any]]) -> None:
    """Columns as wide as their widest cell."""
    names = list(rows[0])
    listed = [dict(zip(names, names, strict=True)), *rows]
    widths = [max(len(str(one[name])) for one in listed) for name in names]
    for one in listed:
        print("  ".join(str(one[name]).rjust(width) for name, width in zip(names, widths, strict=True)))


if __name__ == "__main__":
    main()
