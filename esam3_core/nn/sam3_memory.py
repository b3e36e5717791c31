# SPDX-License-Identifier: Apache-2.0
"""SAM 3's tracker as a `dense` memory: its own neck, masks at full size, pointers of masks that were given.

Memory encoder, memory attention and heads are those of our own students, with other sizes (`OFFICIAL_MEMORY`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.config import MemoryConfig, StudentConfig
from esam3_core.nn.memory import Memory, Remembered, Sighting, time_waves
from esam3_core.nn.memory_encoder import MapNorm
from esam3_core.nn.sam3_neck import Pyramid
from esam3_core.nn.sam_heads import Drawn

ABSENT = -1024.0  # mask logit of an object that is not in the frame
STABLE, MARGIN = 0.98, 0.05  # a mask is stable if moving its threshold by the margin keeps this much of it

OFFICIAL_MEMORY = MemoryConfig(
    kind="dense", width=64, ring=6, anchors=1, pointers=16, pointer_span=16, points=8, exemplars=8,
    encoder_width=256, encoder_layers=2, mask_layers=4, token_width=256, attention_layers=4, attention_width=256,
    self_layers=4, ffn=2048, rope_base=10000.0, rope_cells=72.0, head_layers=2, head_heads=8, head_ffn=2048,
    candidates=3,
)  # fmt: skip
"""Sizes of SAM 3's tracker; it attends to one prompted frame and the six newest ones (upstream: to four at most)."""


class MaskPrompt(nn.Module):
    """A mask that was given as a map that the heads' image tokens are told (SAM: dense prompt).

    Args:
        width: c, channels of the tokens.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(1, 1, 4, stride=4)
        self.halve = nn.ModuleList([nn.Conv2d(1, 4, 2, stride=2), nn.Conv2d(4, 16, 2, stride=2)])
        self.norms = nn.ModuleList([MapNorm(4), MapNorm(16)])
        self.out = nn.Conv2d(16, width, 1)

    def forward(self, mask: Tensor) -> Tensor:
        """0 and 1 [T, 16g, 16g] -> [T, g * g, width]."""
        x = self.shrink(mask[:, None])
        for halve, norm in zip(self.halve, self.norms, strict=True):
            x = functional.gelu(norm(halve(x)))
        return self.out(x).flatten(2).transpose(1, 2)


class Sam3Memory(Memory):
    """Memory of official checkpoints; see `Memory`. What it is called with are features of its own `neck`."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__(config)
        width = config.width
        self.size = config.size
        self.neck = Pyramid(width, config.grid, (width // 4, width // 8))
        self.mask_prompt = MaskPrompt(config.memory.token_width)

    def memorise(self, p16: Tensor, masks: Tensor, objectness: Tensor, prompted: Tensor) -> Tensor:
        """As `Memory.memorise`; masks may also be given at the full 16g x 16g."""
        side = 16 * p16.shape[2]
        full = masks.shape[2] == side
        fine = masks if full else enlarge(masks, self.size)
        shown = torch.where(prompted[:, None, None], (fine > 0).to(masks.dtype), fine.sigmoid())
        return self.keep(self.encoder(p16, shown if full else enlarge(shown, side)), objectness)

    def propagate(
        self, p16: Tensor, p8: Tensor, p4: Tensor, remembered: Remembered, points: Tensor, labels: Tensor
    ) -> Sighting:
        """As `Memory.propagate`; an object that is not in the frame has no mask."""
        seen = super().propagate(p16, p8, p4, remembered, points, labels)
        absent = (seen.objectness <= 0)[:, None, None]
        return Sighting(seen.masks.masked_fill(absent, ABSENT), seen.iou, seen.objectness, seen.pointer)

    def draw(
        self, p16: Tensor, p8: Tensor, p4: Tensor, remembered: Remembered, points: Tensor, labels: Tensor
    ) -> Drawn:
        """As `Memory.draw`; upstream counts points by pixels and puts each in the middle of its own."""
        return super().draw(p16, p8, p4, remembered, points + 0.5 / self.size, labels)

    def point_at(self, p16: Tensor, p8: Tensor, p4: Tensor, masks: Tensor) -> Tensor:
        """Object pointers of masks that somebody gave.

        Args:
            masks: [T, 4g, 4g] or [T, 16g, 16g] logits.

        Returns:
            [T, d]; the learned one where a mask is empty.
        """
        tracks, side = masks.shape[0], 16 * p16.shape[2]
        hard = ((masks if masks.shape[2] == side else enlarge(masks, side)) > 0).to(p16.dtype)
        drawn = self.draw_given(p16, p8, p4, hard)
        pointer = self.point_to(drawn.tokens[:, 0], drawn.objectness)
        some = hard.flatten(1).amax(1).reshape(tracks, 1)
        return some * pointer + (1 - some) * self.no_pointer

    def draw_given(self, p16: Tensor, p8: Tensor, p4: Tensor, mask: Tensor) -> Drawn:
        """What the heads draw where they are told a mask, 0 and 1 [T, 16g, 16g]; memory is not asked."""
        tracks, grid = mask.shape[0], (p16.shape[2], p16.shape[3])
        nowhere = torch.zeros(tracks, 1, 2, dtype=p16.dtype, device=p16.device)
        prompts, seen = self.heads.prompts(nowhere, torch.full_like(nowhere[..., 0], -1, dtype=torch.int64))
        image = self.narrow(p16.flatten(2).transpose(1, 2)) + self.mask_prompt(mask)
        return self.heads.masks(image, self.heads.prompts.grid(*grid), p8, p4, prompts, seen, grid)

    def _waves(self, places: Tensor) -> Tensor:
        """As in `Memory`, but the first cell is not turned; it shows with pointers, which are never turned."""
        return super()._waves(places - 1.0 / self.config.rope_cells)

    def _pointer_waves(self, age: Tensor, channels: int) -> Tensor:
        """As in `Memory`, but the prompted frame's pointer grows older without end."""
        return time_waves(age / max(1, self.config.pointer_span - 1), channels)

    def _best(self, drawn: Drawn, labels: Tensor) -> tuple[Tensor, Tensor]:
        """With several points the first mask, whose token is the pointer; one of the others if it is not stable."""
        ambiguous = (labels >= 0).sum(1) <= 1
        best = 1 + drawn.iou[:, 1:].argmax(1)
        first = drawn.masks[:, 0].flatten(1)
        inner, outer = (first > MARGIN).float().sum(1), (first > -MARGIN).float().sum(1)
        unstable = inner < STABLE * outer
        zero = torch.zeros_like(best)
        return torch.where(ambiguous | unstable, best, zero), torch.where(ambiguous, best, zero)


def enlarge(masks: Tensor, side: int) -> Tensor:
    """Maps [T, h, w] -> [T, side, side], bilinear."""
    return functional.interpolate(masks[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
