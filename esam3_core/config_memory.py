# SPDX-License-Identifier: Apache-2.0
"""Every size of a student's memory: what a track remembers and the heads that read it (docs/memory.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from esam3_core.config_checks import check_above_zero, check_least

KINDS = ("none", "perceiver", "dense")


@dataclass(frozen=True)
class MemoryConfig:
    """Memory of a track: a ring of recent frames and anchors, each a fixed number of latents."""

    kind: str = "none"  # none: tracks are linked detections; perceiver: few latents per frame; dense: every cell
    width: int = 64  # m, channels of a latent
    ring: int = 6  # frames kept, the newest ones
    anchors: int = 2  # frames kept for good: the prompted one and the first confident ones
    pointers: int = 8  # P, object pointers kept
    pointer_span: int = 16  # frames: an older pointer counts as this old
    points: int = 4  # K, points (or corners of boxes) a prompt may have
    exemplars: int = 8  # E, boxes that show one concept
    latents_global: int = 8  # perceiver: latents that see the whole map; two are means, of the object and of all else
    latents_2d: int = 25  # perceiver: latents with a place of their own, a square number, one per window
    perceiver_layers: int = 2
    encoder_width: int = 64  # channels in which mask and feature are merged
    encoder_layers: int = 1  # blocks that merge them
    mask_layers: int = 2  # halvings of the mask that enters memory: 2 from S/4, 4 from S
    token_width: int = 64  # channels in which a track sees the frame; a track's cost grows with it
    attention_layers: int = 2  # of memory attention
    attention_width: int = 64  # channels in which tokens and latents are compared
    self_layers: int = 1  # first layers of memory attention in which the frame's tokens look at each other
    ffn: int = 128  # channels of memory attention's feed-forward blocks
    rope_base: float = 100.0  # RoPE: longest wavelength over the shortest
    rope_cells: float = 24.0  # RoPE: cells a frame's side counts as, whatever S is
    head_layers: int = 1  # of the two-way mask decoder
    head_heads: int = 4
    head_ffn: int = 256
    near: bool = False  # perceiver: learns to look for a track in a window about where it was, for a third of the work
    candidates: int = 0  # further masks drawn for a prompt that may mean several things; 0 = one mask only

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown memory {self.kind!r}: choose one of {', '.join(KINDS)}")
        check_least(self, 1, "width", "encoder_width", "token_width", "attention_width", "ffn", "head_ffn")
        check_least(self, 1, "head_heads", "ring", "pointers", "pointer_span", "points", "exemplars")
        check_least(self, 1, "attention_layers")
        check_least(self, 0, "anchors", "latents_global", "latents_2d", "candidates", "mask_layers", "head_layers")
        check_least(self, 0, "perceiver_layers", "encoder_layers", "self_layers")
        check_above_zero(self, "rope_base", "rope_cells")
        if self.near and self.kind != "perceiver":
            raise ValueError("near is for a perceiver: a dense memory always looks at the whole frame, set near: false")
        if math.isqrt(self.latents_2d) ** 2 != self.latents_2d:
            raise ValueError(f"latents_2d is {self.latents_2d}: it must be a square number, such as 16 or 25")
        if self.attention_width % 4 or self.width % 4 or self.token_width % 4:
            raise ValueError("width, token_width and attention_width must be multiples of 4: two axes, sine and cosine")

    @property
    def slots(self) -> int:
        """M, frames a track remembers at most: the ring and the anchors."""
        return self.ring + self.anchors

    def tokens(self, size: int, cell: int = 16) -> int:
        """L, latents of one remembered frame.

        Args:
            size: S of the student, pixels; cell: pixels of a cell of its P16 (`config.STRIDES`).
        """
        return (size // cell) ** 2 if self.kind == "dense" else self.latents_global + self.latents_2d
