# SPDX-License-Identifier: Apache-2.0
"""How long each graph of a bundle takes in ONNX Runtime, beside the same student in torch.

    python bench/student.py [--bundle tabletop | --random en_s] [--runs 30] [--json FILE]

Weights do not change the time, so torch runs a random student of the bundle's sizes. Without a bundle of the given
name, a random student of the default sizes is exported and measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from esam3_core.config import TRUNKS, RuntimeConfig, StudentConfig
from esam3_core.deploy.export import export_graph, prepare
from esam3_core.deploy.graphs import GRAPHS, example_inputs
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import Bundle, known_bundles
from esam3_core.runtime.engines import load_engine

THREADS = (1, 2)
CONCEPTS = (1, 4, 8)
WARM_UP = 3  # runs that are not counted


def main() -> None:
    """Measure, print two tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--bundle", default="tabletop", help="name or path (default: tabletop)")
    which.add_argument("--random", choices=TRUNKS, help="export a random student of this variant instead")
    parser.add_argument("--runs", type=int, default=30, help="per number; the median is shown")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        name, config, graphs = open_student(arguments, Path(scratch))
        rows = [
            row(config, graphs[graph], graph, threads, concepts, arguments.runs)
            for graph in GRAPHS
            for threads in THREADS
            for concepts in (CONCEPTS if GRAPHS[graph].concept_inputs else (0,))
        ]
    print(f"{name}: {config.variant}, {config.size} x {config.size} pixels; ms, median of {arguments.runs} runs")
    print_table(rows)
    frames = [frame_row(rows, threads, concepts) for threads in THREADS for concepts in CONCEPTS]
    print("\nimage encoder + detector: one frame")
    print_table(frames)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        result = {"student": name, "variant": config.variant, "size": config.size, "graphs": rows, "frames": frames}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def open_student(arguments: argparse.Namespace, scratch: Path) -> tuple[str, StudentConfig, dict[str, Path]]:
    """Name, sizes and graph files of what shall be measured."""
    is_there = arguments.bundle in known_bundles() or Path(arguments.bundle).is_dir()
    if not arguments.random and (is_there or arguments.bundle != "tabletop"):
        bundle = Bundle.load(arguments.bundle)
        return bundle.name, bundle.student, bundle.graphs
    config = StudentConfig(variant=arguments.random or StudentConfig().variant)
    student = prepare(Student(config))
    graphs = {graph: scratch / f"{graph}.onnx" for graph in GRAPHS}
    for graph, path in graphs.items():
        export_graph(student, graph, GRAPHS[graph], path)
    return "a random student", config, graphs


def row(config: StudentConfig, path: Path, graph: str, threads: int, concepts: int, runs: int) -> dict[str, Any]:
    """One graph with one number of threads and concepts."""
    inputs = example_inputs(graph, config, concepts or 1)
    engine = load_engine(path, RuntimeConfig(device="cpu", threads=threads), list(inputs), GRAPHS[graph].outputs)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    module = GRAPHS[graph].build(prepare(Student(config))).eval()
    torch.set_num_threads(threads)
    with torch.inference_mode():
        eager = median_ms(lambda: module(**inputs), runs)
    onnx = median_ms(lambda: engine.run(arrays), runs)
    return {
        "graph": graph,
        "threads": threads,
        "concepts": concepts or "-",
        "onnxruntime": round(onnx, 2),
        "torch": round(eager, 2),
        "torch / onnxruntime": round(eager / onnx, 2),
    }


def frame_row(rows: list[dict[str, Any]], threads: int, concepts: int) -> dict[str, Any]:
    """Both graphs that run on every frame."""
    parts = [
        one
        for one in rows
        if one["threads"] == threads
        and (one["graph"] == "image_encoder" or (one["graph"] == "detector" and one["concepts"] == concepts))
    ]
    onnx, eager = (sum(one[backend] for one in parts) for backend in ("onnxruntime", "torch"))
    return {
        "threads": threads,
        "concepts": concepts,
        "onnxruntime": round(onnx, 2),
        "torch": round(eager, 2),
        "torch / onnxruntime": round(eager / onnx, 2),
        "frames/s": round(1000 / onnx, 1),
    }


def median_ms(run: Callable[[], Any], runs: int) -> float:
    """Median time of a call in ms."""
    times = []
    for number in range(WARM_UP + runs):
        start = time.perf_counter()
        run()
        if number >= WARM_UP:
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Columns as wide as their widest cell."""
    names = list(rows[0])
    widths = [max(len(str(one[name])) for one in [dict(zip(names, names, strict=True)), *rows]) for name in names]
    for one in [dict(zip(names, names, strict=True)), *rows]:
        print("  ".join(str(one[name]).rjust(width) for name, width in zip(names, widths, strict=True)))


if __name__ == "__main__":
    main()
