# SPDX-License-Identifier: Apache-2.0
"""What differs from board to board: memory that a build may borrow, and what the chip can do at most.

Peak figures are NVIDIA's own for the module in its highest power mode, dense (no sparsity): Jetson Orin module data
sheets (Orin Nano 8 GB and Orin NX 16 GB with the Super modes of JetPack 6.2), Jetson AGX Orin 64 GB and Jetson T5000
data sheets. `dgpu` has no figures: there are too many graphics cards.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 1 << 30


@dataclass(frozen=True)
class Board:
    """One kind of machine."""

    title: str
    workspace: int  # bytes that one layer may borrow while an engine is built and runs
    half_tflops: float = 0.0  # 10^12 multiplications and additions per second in float16, tensor cores
    int8_tops: float = 0.0  # the same in int8
    bandwidth: float = 0.0  # 10^9 bytes per second
    source: str = ""


BOARDS = {
    "orin-nano": Board(
        "Jetson Orin Nano 8 GB (Super, MAXN)", 1 * GIB, 16.7, 33.4, 102.4,
        "32 tensor cores at 1020 MHz, 67 sparse INT8 TOPS, 102 GB/s: NVIDIA, Orin Nano Super Developer Kit",
    ),
    "orin-nx": Board(
        "Jetson Orin NX 16 GB (Super, MAXN)", 2 * GIB, 19.2, 38.5, 102.4,
        "GPU share of the 157 sparse INT8 TOPS at 1173 MHz, 102 GB/s: NVIDIA, Orin NX series data sheet",
    ),
    "agx-orin": Board(
        "Jetson AGX Orin 64 GB (MAXN)", 4 * GIB, 42.6, 85.2, 204.8,
        "64 tensor cores at 1301 MHz, GPU 170 sparse INT8 TOPS, 205 GB/s: NVIDIA, AGX Orin data sheet",
    ),
    "thor": Board(
        "Jetson AGX Thor T5000 (MAXN)", 8 * GIB, 258.8, 517.5, 273.0,
        "2070 sparse FP4 TFLOPS, an eighth of it dense FP16, 273 GB/s: NVIDIA, Jetson Thor data sheet",
    ),
    "dgpu": Board("graphics card", 8 * GIB),
}  # fmt: skip
DYNAMIC = {"concepts": (1, 1, 8), "tracks": (1, 4, 16)}
"""Name of a dynamic axis -> least, usual and largest size of an engine; the largest are the runtime's own limits."""
PER_TRACK = frozenset({"propagator", "propagator_near", "memorizer", "pointer_encoder", "refiner"})
"""Graphs that are batched over tracks; others, if at all, over concepts."""
