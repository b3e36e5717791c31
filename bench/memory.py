# SPDX-License-Identifier: Apache-2.0
"""What the memory of a track costs: tokens, bytes and milliseconds, Perceiver against dense, early and late frames.

    python bench/memory.py [--bundle tabletop] [--threads 1] [--runs 20] [--frames 10000] [--loop 120] [--json FILE]

Weights do not change the time, so `dense` is a random student of the bundle's sizes, and so is the whole student where
the bundle has no memory. `attention` is memory attention alone, `step` the propagator, the memorizer and the bank.
`near` is the propagator that looks for a track near where it was, which is what runs while tracks are in sight.
`--frames` compares an early frame with a late one, `--loop` the closed loops of torch and ONNX Runtime on our own
pictures; 0 leaves a part out. `refiner` refines the masks of so many tracks in a 640 x 480 picture, crops and all. The
cost of one more track counts the memorizer by TrackerConfig's `write_every`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from esam3_core.config import MemoryConfig, RuntimeConfig, StudentConfig, TrackerConfig
from esam3_core.deploy.export import export_graph, prepare
from esam3_core.deploy.frames import wander
from esam3_core.deploy.graphs import GraphSpec, example_inputs, graphs_of
from esam3_core.deploy.graphs_memory import memory_of
from esam3_core.deploy.weights import load_weights
from esam3_core.metrics.masks import mask_iou
from esam3_core.nn.memory import Remembered
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import Engine, OnnxEngine
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.memory import MemoryBank, MemoryShape
from esam3_core.runtime.memory_engines import (
    MEMORIZER_OUTPUTS,
    PROPAGATOR_OUTPUTS,
    MemoryEngines,
)
from esam3_core.runtime.object_prompt import CERTAIN
from esam3_core.runtime.preprocess import resize_frame
from esam3_core.runtime.refiner import Refiner
from esam3_core.runtime.stages import Stages

TRACKS = (1, 4, 8, 16)
EARLY, SPAN = 100, 100  # frames: the early ones are EARLY .. EARLY + SPAN, the late ones the last SPAN
LATE_TRACKS = 2


class AttentionGraph(nn.Module):
    """Memory attention alone."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.memory = memory_of(student)

    def forward(
        self, p16: Tensor, p8: Tensor, p4: Tensor, memory: Tensor, memory_age: Tensor, memory_used: Tensor,
        pointers: Tensor, pointer_age: Tensor, pointer_used: Tensor, points: Tensor, point_labels: Tensor,
    ) -> Tensor:  # fmt: skip
        """Inputs as the propagator's, so that both are traced alike."""
        held = Remembered(memory, memory_age, memory_used, pointers, pointer_age, pointer_used)
        return self.memory.condition(p16, held)


class TorchEngine:
    """A graph's torch module as an engine."""

    def __init__(self, module: nn.Module, outputs: tuple[str, ...]) -> None:
        self.module, self.names = module.eval(), outputs

    def run(self, feeds: dict[str, Any], keep: Any = ()) -> dict[str, Any]:
        with torch.inference_mode():
            made = self.module(**{name: torch.from_numpy(np.array(feed)) for name, feed in feeds.items()})
        made = made if isinstance(made, tuple) else (made,)
        return {name: value.numpy() for name, value in zip(self.names, made, strict=True)}


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="tabletop", help="name or folder (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=20, help="per number; the median is shown (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=10_000, help="of the long run (default: %(default)s)")
    parser.add_argument("--loop", type=int, default=120, help="frames of the closed loops (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bundle = Bundle.load(arguments.bundle)
    with tempfile.TemporaryDirectory() as scratch:
        result = measure(bundle, arguments, Path(scratch))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(bundle: Bundle, arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """All parts, printed as they are done."""
    runtime = RuntimeConfig(backend="onnxruntime", device="cpu", threads=arguments.threads)
    own = student_of(bundle)
    other = dataclasses.replace(own.config, memory=dataclasses.replace(own.config.memory, kind="dense", near=False))
    rows = []
    for student in (own, prepare(Student(other))):
        folder = scratch / student.config.memory.kind
        folder.mkdir()
        rows.append(costs(student, folder, runtime, arguments.runs))
    encoder = engine(own, "image_encoder", graphs_of(own.config)["image_encoder"], scratch, runtime)
    image = milliseconds(lambda: encoder.run(feeds("image_encoder", own.config, 1)), arguments.runs)
    print_costs(bundle.name, own.config, rows, image)
    result: dict[str, Any] = {"bundle": bundle.name, "threads": arguments.threads, "image_encoder": image, "rows": rows}
    folder = scratch / own.config.memory.kind
    if arguments.frames:
        result["long"] = long_run(own.config, folder, runtime, arguments.frames)
        early, late = result["long"]["early_ms"], result["long"]["late_ms"]
        print(
            f"\nframe {EARLY} {early:.2f} ms, frame {arguments.frames} {late:.2f} ms "
            f"({100 * (late / early - 1):+.1f} %), the process grows by {result['long']['growth_mib']:+.1f} MiB between"
        )
    if arguments.loop:
        result["loop"] = closed_loop(own, folder, encoder, runtime, arguments.loop)
        told = "mask IoU {mean_iou:.4f} mean, {worst_iou:.4f} worst, pointers differ by {pointer:.1e}"
        print(f"\nclosed loop, torch against ONNX Runtime, {arguments.loop} frames: {told.format(**result['loop'])}")
    return result


def student_of(bundle: Bundle) -> Student:
    """The bundle's student in torch; one with random weights where it has no memory."""
    config = bundle.student
    if config.memory.kind == "none":
        config = dataclasses.replace(config, memory=MemoryConfig(kind="perceiver"))
        return prepare(Student(config))
    student = Student(config)
    load_weights(student, bundle.folder)
    return prepare(student, half=False)


def engine(student: Student, graph: str, spec: GraphSpec, folder: Path, runtime: RuntimeConfig) -> OnnxEngine:
    """One graph, exported and opened."""
    path = folder / f"{graph}.onnx"
    export_graph(student, graph, spec, path)
    return OnnxEngine(path, runtime)


def costs(student: Student, folder: Path, runtime: RuntimeConfig, runs: int) -> dict[str, Any]:
    """Tokens, bytes and times of one kind of memory."""
    config = student.config
    own = config.memory
    shape = MemoryShape.of(own, config.size, config.width)
    specs = graphs_of(config)
    propagator = engine(student, "propagator", specs["propagator"], folder, runtime)
    memorizer = engine(student, "memorizer", specs["memorizer"], folder, runtime)
    path = folder / "attention.onnx"
    spec = GraphSpec(AttentionGraph, ("tokens",), specs["propagator"].concept_inputs)
    export_graph(student, "propagator", spec, path)
    attention = OnnxEngine(path, runtime)
    near = engine(student, "propagator_near", specs["propagator_near"], folder, runtime) if own.near else None
    refiner = None
    if config.refiner:
        refiner = Refiner(engine(student, "refiner", specs["refiner"], folder, runtime), Stages())
    times = {}
    for tracks in TRACKS:
        seen = feeds("propagator", config, tracks)
        read = {name: seen[name] for name in attention.inputs}
        times[tracks] = {
            "attention": milliseconds(partial(attention.run, read), runs),
            "propagator": milliseconds(partial(propagator.run, seen), runs),
            "memorizer": milliseconds(partial(memorizer.run, feeds("memorizer", config, tracks)), runs),
        }
        if near:
            looked = feeds("propagator_near", config, tracks)
            times[tracks]["near"] = milliseconds(partial(near.run, looked), runs)
        if refiner:
            times[tracks]["refiner"] = milliseconds(partial(refiner.refine, *picture_with_masks(tracks)), runs)
    pointer_tokens = own.pointers * (config.width // own.width)
    return {
        "kind": own.kind,
        "tokens_per_frame": own.tokens(config.size),
        "tokens_per_track": own.slots * own.tokens(config.size) + pointer_tokens,
        "bytes_per_track": shape.bytes_per_track,
        "times": times,
    }


def picture_with_masks(count: int) -> tuple[Any, list[CroppedMask]]:
    """A picture of 640 x 480 pixels, and masks of 70 x 90 in it."""
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    return image, [CroppedMask(np.ones((90, 70), np.bool_), 20 + 30 * i, 100, (480, 640)) for i in range(count)]


def feeds(graph: str, config: StudentConfig, tracks: int) -> dict[str, Any]:
    """Example inputs of a graph."""
    return {name: value.numpy() for name, value in example_inputs(graph, config, tracks).items()}


def milliseconds(call: Callable[[], object], runs: int) -> float:
    """Median time of a call after three that are not counted."""
    times = []
    for _ in range(runs + 3):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def memory_engines(config: StudentConfig, propagator: Engine, memorizer: Engine) -> MemoryEngines:
    """Both engines as the tracker uses them."""
    return MemoryEngines(propagator, memorizer, config.memory.points, config.size // 4, Stages())


def opened(folder: Path, runtime: RuntimeConfig) -> tuple[OnnxEngine, OnnxEngine]:
    """Propagator and memorizer that were exported before."""
    return OnnxEngine(folder / "propagator.onnx", runtime), OnnxEngine(folder / "memorizer.onnx", runtime)


def long_run(config: StudentConfig, folder: Path, runtime: RuntimeConfig, frames: int) -> dict[str, float]:
    """CPU time of a frame, and the size of the process, early and late in a long run.

    Every other frame has one track less: sizes that change must not make the process grow. The time is that of the
    other frames, the fastest tenth of them: programs beside lengthen the rest.
    """
    engines = memory_engines(config, *opened(folder, runtime))
    bank = MemoryBank(MemoryShape.of(config.memory, config.size, config.width), LATE_TRACKS)
    keys = [bank.open() for _ in range(LATE_TRACKS)]
    given = feeds("propagator", config, LATE_TRACKS)
    features = {name: given[name] for name in ("p16", "p8", "p4")}
    times, sizes = [], {}
    for frame in range(frames):
        start = time.process_time()
        step(engines, bank, keys[: LATE_TRACKS - frame % 2], features, anchor=frame < 2)
        times.append(1000 * (time.process_time() - start))
        if frame in (EARLY, frames - 1):
            sizes[frame] = resident()
    early, late = (statistics.quantiles(times[at : at + SPAN : 2], n=10)[0] for at in (EARLY, frames - SPAN))
    growth = (sizes[frames - 1] - sizes[EARLY]) / 2**20
    return {"frames": frames, "tracks": LATE_TRACKS, "early_ms": early, "late_ms": late, "growth_mib": growth}


def step(engines: MemoryEngines, bank: MemoryBank, keys: list[int], features: dict[str, Any], anchor: bool) -> Any:
    """One frame: look, and remember."""
    bank.tick()
    seen = engines.propagate(features, bank, keys)
    objectness = np.full(len(keys), CERTAIN, np.float32) if anchor else seen.objectness
    latents = engines.memorise(features, seen.logits, objectness, [anchor] * len(keys))
    for key, values, pointer in zip(keys, latents, seen.pointers, strict=True):
        bank.write(key, values, anchor)
        bank.point(key, pointer, anchor)
    return seen


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def closed_loop(
    student: Student, folder: Path, encoder: OnnxEngine, runtime: RuntimeConfig, frames: int
) -> dict[str, Any]:
    """The same clip through both, each with its own memory from the first frame on."""
    config = student.config
    specs = graphs_of(config)
    torch_engines = [
        TorchEngine(specs[graph].build(student), outputs)
        for graph, outputs in (("propagator", PROPAGATOR_OUTPUTS), ("memorizer", MEMORIZER_OUTPUTS))
    ]
    both = [memory_engines(config, *opened(folder, runtime)), memory_engines(config, *torch_engines)]  # type: ignore[arg-type]
    banks = [MemoryBank(MemoryShape.of(config.memory, config.size, config.width), 1) for _ in both]
    keys = [[bank.open()] for bank in banks]
    ious, pointer, clip = [], 0.0, wander()
    side = config.size // 4
    middle = np.full((1, side, side), -CERTAIN, np.float32)
    middle[:, side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = CERTAIN
    for frame in range(frames):
        _, image = next(clip)
        features = encoder.run({"image": resize_frame(image, config.size)[None]})
        if frame == 0:
            for engines, bank, (key,) in zip(both, banks, keys, strict=True):
                bank.write(key, engines.memorise(features, middle, np.array([CERTAIN]), [True])[0], anchor=True)
            continue
        ours, theirs = (step(e, b, k, features, anchor=False) for e, b, k in zip(both, banks, keys, strict=True))
        ious.append(mask_iou(ours.logits[0] > 0, theirs.logits[0] > 0))
        pointer = max(pointer, float(np.abs(ours.pointers - theirs.pointers).max()))
    return {"frames": frames, "mean_iou": float(np.mean(ious)), "worst_iou": min(ious), "pointer": pointer}


def print_costs(name: str, config: StudentConfig, rows: list[dict[str, Any]], image: float) -> None:
    """One line per kind and number of tracks."""
    every = TrackerConfig().write_every
    print(f"{name}: {config.variant}, {config.size} x {config.size} pixels, image encoder {image:.1f} ms")
    print(f"{'memory':>10}  {'tokens':>14}  {'KiB':>7}  {'tracks':>6}  {'attention':>9}  {'propagator':>10}  "
          f"{'near':>6}  {'memorizer':>9}  {'refiner':>7}  {'one more track / image encoder':>30}")  # fmt: skip
    for row in rows:
        look = "near" if "near" in row["times"][1] else "propagator"
        one, many = (
            row["times"][n][look] + row["times"][n]["memorizer"] / every + row["times"][n].get("refiner", 0.0)
            for n in (1, TRACKS[-1])
        )
        row["extra_share"] = (many - one) / (TRACKS[-1] - 1) / image
        for tracks, times in row["times"].items():
            tokens = f"{row['tokens_per_frame']} / {row['tokens_per_track']}" if tracks == 1 else ""
            size = f"{row['bytes_per_track'] / 1024:.0f}" if tracks == 1 else ""
            share = f"{100 * row['extra_share']:.0f} %" if tracks == TRACKS[-1] else ""
            kind = row["kind"] if tracks == 1 else ""
            print(f"{kind:>10}  {tokens:>14}  {size:>7}  {tracks:>6}  {times['attention']:9.2f}  "
                  f"{times['propagator']:10.2f}  {times.get('near', float('nan')):6.2f}  {times['memorizer']:9.2f}  "
                  f"{times.get('refiner', float('nan')):7.2f}  {share:>30}")  # fmt: skip


if __name__ == "__main__":
    main()
