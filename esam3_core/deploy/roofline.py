# SPDX-License-Identifier: Apache-2.0
"""An estimate of what a board can reach with a bundle, from the arithmetic of its graphs. It is not a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from esam3_core.deploy.arithmetic import Work, work_of
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.presets import BOARDS, DYNAMIC, PER_TRACK, Board
from esam3_core.runtime.buckets import bucket
from esam3_core.runtime.bundle import Bundle

EVERY_FRAME = ("image_encoder", "memory_neck", "propagator", "memorizer", "refiner")
NEAR = {"propagator": "propagator_near"}  # what runs instead, where a bundle has it, while tracks are where they were
BYTES = {"fp16": 2, "int8": 1}
SINGLE = 4  # bytes of an element of the memorizer, which stays in single precision
REACHED = (0.20, 0.41)
"""Least and greatest share of the peak that published engines reach on an AGX Orin: EfficientViT-SAM L0 (35 G
multiply-adds, 8.2 ms) and XL1 (322 G, 37.2 ms), TensorRT fp16, transfers included, by the project's own README."""

PUBLISHED = (
    ("SAM 3 whole, DARTF W8A8", "agx-orin", 1008, "158", "275 in fp16; DART"),
    ("SAM 3 whole, int8 and fp16", "agx-orin", 924, "462", "763 before; embedl"),
    ("SAM 3 whole, fp16", "orin-nx", 1008, "950", "end to end from 4K frames; SAM3-TensorRT"),
    ("SAM 3 whole, int8 and fp16", "thor", 924, "90.9", "137 before; embedl"),
    ("SAM 3 whole, fp16", "thor", 1008, "125.9", "end to end from 4K frames; SAM3-TensorRT pull request 24"),
    ("EfficientViT-SAM XL0, one box", "agx-orin", 1024, "22.5", "no text, no tracking; its README"),
    ("NanoSAM R18, one box", "agx-orin", 1024, "8.1", "no text, no tracking; its README"),
    ("NanoSAM R18, one box", "orin-nano", 1024, "27", "no text, no tracking; its README"),
)
"""System, board, pixels, ms per frame, note: figures of others, none of them measured by us."""


@dataclass(frozen=True)
class Estimate:
    """One graph on every board."""

    graph: str
    rows: int  # of its dynamic axis
    gflop: float
    megabytes: float
    ms: dict[str, float]  # board -> the least time that its figures allow


def estimate(bundle: Bundle, precision: str, tracks: int, concepts: int) -> list[Estimate]:
    """Every graph of a bundle.

    Raises:
        ValueError: more tracks or concepts than one run of an engine takes.
    """
    for name, count in (("tracks", tracks), ("concepts", concepts)):
        if not 1 <= count <= DYNAMIC[name][2]:
            raise ValueError(f"--{name} is {count}: one run of an engine takes 1 to {DYNAMIC[name][2]}")
    found = []
    for graph, path in bundle.graphs.items():
        rows = bucket(tracks) if graph in PER_TRACK else concepts
        work = work_of(read_graph(path), rows)
        size = SINGLE if graph == "memorizer" else BYTES[precision]
        boards = {name: board for name, board in BOARDS.items() if board.bandwidth}
        found.append(
            Estimate(
                graph, rows if graph != "image_encoder" else 1, sum(one.operations for one in work) / 1e9,
                sum(one.values for one in work) * size / 1e6,
                {name: least_ms(work, board, precision, size) for name, board in boards.items()},
            )
        )  # fmt: skip
    return found


def least_ms(work: Sequence[Work], board: Board, precision: str, size: int) -> float:
    """Time below which a board cannot do it: every node waits for its arithmetic or for memory, whichever is slower."""
    peak = 1e12 * (board.int8_tops if precision == "int8" else board.half_tflops)
    if size == SINGLE:
        peak = 1e12 * board.half_tflops / 2  # TF32 on tensor cores
    return 1e3 * sum(max(one.operations / peak, one.values * size / (1e9 * board.bandwidth)) for one in work)


def as_markdown(bundle: Bundle, rows: Sequence[Estimate], precision: str, tracks: int, concepts: int) -> str:
    """The estimate as a page, with its assumptions and other systems' published figures.

    Args:
        rows: what `estimate` gave for the same arguments.
    """
    boards = list(rows[0].ms)
    student = bundle.student
    lines = [
        f"# {bundle.name} ({student.variant}, {student.size} pixels), {precision}, tracks: {tracks}, concepts: "
        f"{concepts}",
        "",
        "**An estimate, not a measurement: nobody ran this on a board.** Least ms that the boards' data sheets allow:",
        "",
        f"| graph | rows | GFLOP | MB moved | {' | '.join(boards)} |",
        "|---" * (4 + len(boards)) + "|",
        *(_row(one.graph, str(one.rows), one.gflop, one.megabytes, one.ms) for one in rows),
    ]
    usual = {NEAR[graph] if NEAR.get(graph) in bundle.graphs else graph for graph in EVERY_FRAME}
    each = [one for one in rows if one.graph in usual]
    with_detector = [*each, *(one for one in rows if one.graph == "detector")]
    for title, parts in (("**frame**", each), ("**frame with detection**", with_detector)):
        ms = {board: sum(one.ms[board] for one in parts) for board in boards}
        lines.append(_row(title, "", sum(one.gflop for one in parts), sum(one.megabytes for one in parts), ms))
        if parts is with_detector:
            low, high = REACHED
            cells = " | ".join(f"{ms[board] / high:.1f} .. {ms[board] / low:.1f}" for board in boards)
            lines.append(f"| **expected, with detection** | | | | {cells} |")
    lines += ["", *_assumptions(), "", *_published()]
    return "\n".join(lines) + "\n"


def _row(name: str, rows: str, gflop: float, megabytes: float, ms: dict[str, float]) -> str:
    return f"| {name} | {rows} | {gflop:.2f} | {megabytes:.1f} | {' | '.join(f'{one:.2f}' for one in ms.values())} |"


def _assumptions() -> list[str]:
    low, high = REACHED
    return [
        "Assumed: nodes run one after the other; each takes its arithmetic at the peak of the tensor cores or its "
        "inputs, weights and outputs at the peak of the memory, whichever is longer; what is element by element is "
        "fused and free; nothing stays in a cache; no start-up time of kernels, no copies, no work of the CPU.",
        "A frame is one in which tracks are seen near where they were; whoever is not costs a run of propagator more.",
        f"Expected: the least time divided by {low:.2f} to {high:.2f}, the share of the peak that published fp16 "
        "engines reach on an AGX Orin (EfficientViT-SAM L0 and XL1). Small graphs may be slower still.",
        *(f"{board.title}: {board.half_tflops} TFLOPS fp16, {board.int8_tops} TOPS int8, {board.bandwidth} GB/s "
          f"({board.source})." for board in BOARDS.values() if board.bandwidth),
    ]  # fmt: skip


def _published() -> list[str]:
    return [
        "Published by others, ms per frame; other networks, other tasks, other ways to measure:",
        "",
        "| system | board | pixels | ms | note |",
        "|---|---|---|---|---|",
        *(f"| {system} | {board} | {pixels} | {ms} | {note} |" for system, board, pixels, ms, note in PUBLISHED),
    ]
