# SPDX-License-Identifier: Apache-2.0
"""TensorRT engines of a bundle, built on the machine that will run them; or, without a GPU, the check that they build.

Engines are written one by one into a listing of those that wait: a build that is killed goes on where it stopped. They
are used once all of them are there and track as the reference does; until then whatever was there before stays in use.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from esam3_core.deploy.build_process import run_builder
from esam3_core.deploy.capability import find_polygraphy, report_capability
from esam3_core.deploy.gates import Clip, record
from esam3_core.deploy.machine import board_model
from esam3_core.deploy.presets import BOARDS
from esam3_core.deploy.tensorrt_api import BuildOptions, find_tensorrt
from esam3_core.deploy.typed_graphs import TypedFile, typed_graphs
from esam3_core.deploy.verify import check_engine, check_loop
from esam3_core.runtime.bundle import Bundle, file_digest
from esam3_core.runtime.cuda import Gpu, open_driver
from esam3_core.runtime.engine_folder import BuiltEngine, engines_folder, read_listing, write_listing
from esam3_core.runtime.engines import Engine
from esam3_core.runtime.errors import EngineError
from esam3_core.runtime.tensorrt_engine import TensorRtEngine

WAITING = "waiting.json"  # lists engines that are built and not proven together
ROOM = 3  # times the size of the graphs that must be free on the disk
Say = Callable[[str], None]


@dataclass(frozen=True)
class BuildConfig:
    """What to build."""

    precision: str = "fp16"
    board: str = "auto"  # a name of presets.BOARDS; auto asks the machine
    workspace: int = 0  # bytes, 0 = the board's
    level: int = 3
    again: bool = False  # build even what is already there


@dataclass(frozen=True)
class Target:
    """Where engines go, and what they are built for."""

    folder: Path
    gpu: Gpu
    version: str  # of TensorRT
    options: BuildOptions


@dataclass(frozen=True)
class Judges:
    """What engines have to pass before they are used."""

    accept: Callable[[str, Path], None]  # raises if the engine of a graph in a file is not good enough
    prove: Callable[[Mapping[str, Path]], None]  # raises if a tracker with all engines is not


@dataclass(frozen=True)
class CheckRow:
    """What became of one graph."""

    graph: str
    nodes: int
    megabytes: float
    seconds: float
    problem: str = ""  # empty: it parses and builds
    unsupported: str = ""  # polygraphy's table of nodes that TensorRT cannot run; empty: there are none


def build_bundle(bundle: Bundle, config: BuildConfig, clip: Clip, say: Say = print) -> Path:
    """Build what is missing, and use it once each engine and the tracker with all of them passed their gates.

    Args:
        clip: frames on which engines are compared with the bundle's graphs, and tracked by the closed loop.

    Returns:
        The folder of the engines.

    Raises:
        EngineError: no GPU, no TensorRT, a graph that does not build, a board out of memory.
        Esam3Error: a gate failed; the message names graph and output.
        OSError: the disk is full or the bundle cannot be written; engines that were there stay.
    """
    tensorrt = find_tensorrt("build")
    gpu = open_driver().gpu()
    board = BOARDS[find_board() if config.board == "auto" else config.board]
    options = BuildOptions(config.workspace or board.workspace, config.level, exact=config.precision == "fp32")
    folder = engines_folder(bundle.folder, gpu, tensorrt.version)
    prepare_folder(folder, sum(path.stat().st_size for path in bundle.graphs.values()))
    say(f"{gpu.name}, TensorRT {tensorrt.version}, CUDA {gpu.cuda}; {board.title}; {config.precision}; {folder}")
    feeds = record(bundle, clip)

    def make(graph: str, model: ModelProto, draft: Path) -> None:
        run_builder("build", model, draft, options, folder / "timing.cache", graph, say)

    def accept(graph: str, draft: Path) -> None:
        check_engine(TensorRtEngine(draft), graph, bundle.graphs[graph], feeds.get(graph, []))

    def prove(engines: Mapping[str, Path]) -> None:
        opened: dict[str, Engine] = {graph: TensorRtEngine(path) for graph, path in engines.items()}
        found = check_loop(bundle, clip, opened)
        say(f"loop: masks agree to {found.mean:.4f} over {found.runs} frames ({found.note})")

    target, judges = Target(folder, gpu, tensorrt.version, options), Judges(accept, prove)
    return build_missing(bundle, typed_graphs(bundle, config.precision, clip), target, make, judges, config.again, say)


def build_missing(
    bundle: Bundle, graphs: Mapping[str, TypedFile], target: Target, make: Callable[[str, ModelProto, Path], None],
    judges: Judges, again: bool, say: Say,
) -> Path:  # fmt: skip
    """Make the engines that are not there, one by one; all are used once they are whole, accepted and proven together.

    Args:
        make: writes the engine of a graph to a file, or raises.
        again: make even what is there.
    """
    folder, options = target.folder, target.options
    used, waiting = read_listing(folder), read_listing(folder, WAITING)
    engines: dict[str, BuiltEngine] = {}
    for graph, typed in graphs.items():
        known = None if again else _current(graph, (used, waiting), bundle, typed, target)
        if known:
            engines[graph] = known
            say(f"{graph}: already built")
            continue
        start = time.perf_counter()
        draft = folder / f"{graph}.draft"
        try:
            make(graph, typed.content, draft)
            seconds = time.perf_counter() - start
            judges.accept(graph, draft)
            digest = file_digest(draft)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        # Its name holds its digest: an engine that is in use is not touched.
        path = folder / f"{graph}-{digest[:12]}.engine"
        draft.replace(path)
        waiting[graph] = engines[graph] = BuiltEngine(
            path.name, bundle.digests[graph], digest, typed.precision, typed.kept, typed.largest, options.workspace,
            options.level, round(seconds, 1),
        )  # fmt: skip
        write_listing(folder, target.gpu, target.version, waiting, WAITING)
        say(f"{graph}: {path.stat().st_size / 1e6:.1f} MB in {seconds:.0f} s")
    if engines != used:
        judges.prove({graph: folder / engine.file for graph, engine in engines.items()})
        write_listing(folder, target.gpu, target.version, engines)
    (folder / WAITING).unlink(missing_ok=True)
    remove_unlisted(folder, engines)
    return folder


def _current(
    graph: str, listings: Sequence[Mapping[str, BuiltEngine]], bundle: Bundle, typed: TypedFile, target: Target
) -> BuiltEngine | None:
    """The engine of a graph that a build would only make again."""
    for listing in listings:
        known = listing.get(graph)
        if known and is_current(known, bundle.digests[graph], typed, target.options, target.folder):
            return known
    return None


def check_bundle(bundle: Bundle, precision: str = "fp16", say: Say = print, workspace: int = 0) -> list[CheckRow]:
    """Parse and build every graph with TensorRT-RTX, which needs no GPU; nothing is kept.

    Args:
        workspace: bytes that a layer may borrow; 0 = the default of BuildOptions.

    Raises:
        EngineError: TensorRT-RTX or polygraphy is not installed.
    """
    find_tensorrt("check")
    find_polygraphy()
    options = BuildOptions(workspace or BuildOptions.workspace, level=0)
    rows = []
    for graph, typed in typed_graphs(bundle, precision).items():
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "engine"
            try:
                run_builder("check", typed.content, out, options, None, graph, lambda _: None)
                size, problem = out.stat().st_size / 1e6, ""
            except EngineError as error:
                size, problem = 0.0, str(error).removeprefix(f"{graph}: ")
        seconds, unsupported = time.perf_counter() - start, report_capability(typed.content)
        row = CheckRow(graph, typed.nodes, round(size, 1), round(seconds, 1), problem, unsupported)
        built = problem or f"parses and builds ({row.nodes} nodes, {row.megabytes} MB, {row.seconds} s)"
        say(f"{graph}: {built}; polygraphy: " + (f"\n{unsupported}" if unsupported else "every node is supported"))
        rows.append(row)
    return rows


def find_board() -> str:
    """The preset of this machine."""
    model = board_model().lower()
    for board in BOARDS:
        if board.replace("-", " ") in model:
            return board
    return "orin-nano" if "jetson" in model else "dgpu"  # of an unknown board, the most careful one


def prepare_folder(folder: Path, size: int) -> None:
    """Make the folder, clear what a killed build left, and see that there is room for engines of `size` bytes.

    Raises:
        OSError: it cannot be written, or the disk is too full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for draft in folder.glob("*.draft"):
            draft.unlink()
        (folder / "writable.draft").touch()
        (folder / "writable.draft").unlink()
    except OSError as error:
        raise OSError(f"no engines can be written to {folder} ({error}): copy the bundle to your own folder") from error
    free = shutil.disk_usage(folder).free
    if free < ROOM * size:
        raise OSError(
            f"{folder} has {free / 1e6:.0f} MB left and engines may need {ROOM * size / 1e6:.0f} MB: make room, then "
            "run the same command again; engines that are there stay usable"
        )


def is_current(engine: BuiltEngine, digest: str, typed: TypedFile, options: BuildOptions, folder: Path) -> bool:
    """Whether an engine is what a build would make again."""
    made = (engine.graph_sha256, engine.precision, engine.kept, engine.largest, engine.workspace, engine.level)
    wanted = (digest, typed.precision, typed.kept, typed.largest, options.workspace, options.level)
    path = folder / engine.file
    return made == wanted and path.is_file() and file_digest(path) == engine.engine_sha256


def remove_unlisted(folder: Path, engines: Mapping[str, BuiltEngine]) -> None:
    """Delete engines that have been replaced."""
    listed = {engine.file for engine in engines.values()}
    for path in folder.glob("*.engine"):
        if path.name not in listed:
            path.unlink()
