# SPDX-License-Identifier: Apache-2.0
"""Memory of tracks: what is written of a frame, and how the next frame is read with it (docs/memory.md).

One interface for both kinds. `perceiver` remembers a few latents per frame, `dense` every cell of the map; official
SAM 3 tracker weights are a `dense` memory of other sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.config import MemoryConfig, StudentConfig
from esam3_core.nn.likeness import MEANS, Likeness
from esam3_core.nn.memory_attention import MemoryAttention, still_waves
from esam3_core.nn.memory_encoder import MemoryEncoder
from esam3_core.nn.perceiver import Perceiver
from esam3_core.nn.rope import cell_places, rope_waves, sine_places
from esam3_core.nn.sam_heads import Drawn, SamHeads
from esam3_core.nn.window import Windows

INPUT_PLACES = 0.1  # share of the sine table that is added to the tokens before memory attention


@dataclass
class Remembered:
    """What T tracks remember. M slots of L latents, P pointers."""

    memory: Tensor  # [T, M, L, m]
    memory_age: Tensor  # int64 [T, M], 0 = anchor, 1..ring = how many written frames ago
    memory_used: Tensor  # bool [T, M]
    pointers: Tensor  # [T, P, d]
    pointer_age: Tensor  # [T, P], frames ago
    pointer_used: Tensor  # bool [T, P]


@dataclass
class Sighting:
    """Where T tracks are seen in a frame."""

    masks: Tensor  # [T, S/4, S/4] logits
    iou: Tensor  # [T] 0..1, expected
    objectness: Tensor  # [T] logit, above 0 = visible
    pointer: Tensor  # [T, d]
    tokens: Tensor | None = None  # [T, N, c], the frame's tokens after drawing; only training looks at them


class Memory(nn.Module):
    """Memory encoder, Perceiver (not for `dense`), memory attention, SAM heads.

    Args:
        config: of the student; `config.memory.kind` must not be none.
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        own, width = config.memory, config.width
        if own.kind == "none":
            raise ValueError("this student has no memory: set student.memory.kind to perceiver or dense")
        self.config: MemoryConfig = own
        self.encoder = MemoryEncoder(width, own.encoder_width, own.width, own.encoder_layers, own.mask_layers)
        seen = own.token_width
        self.perceiver = self.likeness = None
        if own.kind == "perceiver":
            if own.width != seen or own.latents_global < MEANS:
                raise ValueError(f"a perceiver needs width = token_width, and at least {MEANS} latents_global")
            self.perceiver = Perceiver(own.width, own.latents_global - MEANS, own.latents_2d, own.perceiver_layers)
            self.likeness = Likeness(seen)
        self.narrow = nn.Linear(width, seen) if seen != width else nn.Identity()  # once per frame, for all tracks
        self.attention = MemoryAttention(
            own.attention_layers, own.self_layers, seen, own.width, own.attention_width, own.ffn
        )
        self.heads = SamHeads(seen, config)
        self.time = nn.Parameter(torch.randn(own.ring + 1, own.width) * 0.1)  # by age, 0 = anchor
        self.pointer_time = nn.Linear(width, own.width)
        self.no_memory = nn.Parameter(torch.randn(seen) * 0.02)  # added to the tokens of a track without memory
        self.no_object = nn.Parameter(torch.zeros(own.width))  # added to what is remembered while it is hidden
        self.no_pointer = nn.Parameter(torch.randn(width) * 0.02)  # pointer of a hidden object

    def nothing(self, tracks: int, p16: Tensor) -> Remembered:
        """What T tracks remember before their first frame: one slot and one pointer, not used.

        Args:
            p16: [.., d, h, w], features of a frame.
        """
        own, (width, height, length) = self.config, p16.shape[-3:]
        latents = height * length if self.perceiver is None else own.latents_global + own.latents_2d
        unused = torch.zeros(tracks, 1, dtype=torch.bool, device=p16.device)
        return Remembered(
            p16.new_zeros(tracks, 1, latents, own.width), unused.long(), unused,
            p16.new_zeros(tracks, 1, width), p16.new_zeros(tracks, 1), unused,
        )  # fmt: skip

    def memorise(self, p16: Tensor, masks: Tensor, objectness: Tensor, prompted: Tensor) -> Tensor:
        """What is to be remembered of a frame.

        Args:
            p16: [1 or T, d, h, w]; masks: [T, 4h, 4w] logits; objectness: [T] logit.
            prompted: bool [T]; masks that came from outside enter as 0 and 1.

        Returns:
            [T, L, m]
        """
        hard = (masks > 0).to(masks.dtype)
        shown = torch.where(prompted[:, None, None], hard, masks.sigmoid())
        kept = self.keep(self.encoder(p16, shown), objectness)
        if self.likeness is None:
            return kept
        unit = self.likeness.unit(self._tokens(p16))
        share = functional.avg_pool2d(shown[:, None], 4).flatten(1)  # [T, N]
        return torch.cat([self.likeness.means(unit, share), kept], 1)

    def keep(self, merged: Tensor, objectness: Tensor) -> Tensor:
        """Latents of what the memory encoder made of a frame [T, m, h, w]; objectness [T] logit."""
        hidden = (objectness <= 0).to(merged.dtype)[:, None]
        x = merged + (hidden * self.no_object)[..., None, None]
        if self.perceiver is None:
            return x.flatten(2).transpose(1, 2)
        return self.perceiver(x)

    def propagate(
        self, p16: Tensor, p8: Tensor, p4: Tensor, remembered: Remembered, points: Tensor, labels: Tensor
    ) -> Sighting:
        """Look for tracks in a frame.

        Args:
            p16, p8, p4: features of the frame, [1, ...] (or one row per track).
            remembered: of T tracks.
            points: [T, K, 2] x, y in 0..1; labels: int64 [T, K], see `prompt_encoder.LABELS`.
        """
        return self._sighting(self.draw(p16, p8, p4, remembered, points, labels), labels)

    def propagate_near(
        self, p16: Tensor, p8: Tensor, p4: Tensor, remembered: Remembered, windows: Windows
    ) -> Sighting:
        """Look for tracks in a window each: what each cell makes of memory is the same as in the whole frame, and the
        heads see nothing else. Only for tracks that remember something, and a Perceiver's.

        Args:
            p16, p8, p4: features of the frame, [1, ...] (or one row per track).

        Returns:
            `masks` and `tokens` of the windows, [T, 4w, 4w] and [T, w * w, c].
        """
        assert self.likeness is not None
        unit = windows.tokens(self.likeness.unit(self._tokens(p16)))
        looks = self.likeness.remembered(unit, remembered.memory[:, :, :MEANS], remembered.memory_used)
        image = self.condition(p16, remembered, windows)
        image = image + self.likeness.into(torch.stack([looks, torch.zeros_like(looks)], -1))
        labels = torch.full_like(windows.corner[:, :1], -1)  # no prompt
        square = (windows.side, windows.side)
        places = windows.tokens(self.heads.prompts.grid(*windows.grid)[None])
        nowhere = torch.zeros_like(windows.corner[:, None]).to(p16.dtype)
        drawn = self.heads(image, windows.fine(p8, 2), windows.fine(p4, 4), nowhere, labels, square, places)
        drawn.masks = drawn.masks + self.likeness.logits(looks, torch.zeros_like(looks), square)
        return self._sighting(drawn, labels)

    def _sighting(self, drawn: Drawn, labels: Tensor) -> Sighting:
        best, told = self._best(drawn, labels)
        take = best[:, None, None, None].expand(-1, -1, *drawn.masks.shape[2:])
        masks = torch.gather(drawn.masks, 1, take)[:, 0]
        token = torch.gather(drawn.tokens, 1, told[:, None, None].expand(-1, -1, drawn.tokens.shape[-1]))[:, 0]
        iou = torch.gather(drawn.iou, 1, best[:, None])[:, 0]
        return Sighting(masks, iou, drawn.objectness, self.point_to(token, drawn.objectness), drawn.image)

    def draw(
        self, p16: Tensor, p8: Tensor, p4: Tensor, remembered: Remembered, points: Tensor, labels: Tensor
    ) -> Drawn:
        """All masks that the heads draw; arguments as for `propagate`."""
        grid = (p16.shape[2], p16.shape[3])
        image = self.condition(p16, remembered)
        if self.likeness is None:
            return self.heads(image, p8, p4, points, labels, grid)
        unit = self.likeness.unit(self._tokens(p16))
        looks, place = self.likeness.prompted(unit, points, labels, grid)
        known = remembered.memory_used.any(1).to(p16.dtype)[:, None]  # [T, 1]
        means = remembered.memory[:, :, :MEANS]
        looks = known * self.likeness.remembered(unit, means, remembered.memory_used) + (1 - known) * looks
        drawn = self.heads(
            image + self.likeness.into(torch.stack([looks, place], -1)), p8, p4, points, labels, grid
        )
        drawn.masks = drawn.masks + self.likeness.logits(looks, place, grid)
        return drawn

    def _tokens(self, p16: Tensor) -> Tensor:
        """The frame as tracks see it: [1 or T, N, c]."""
        return self.narrow(p16.flatten(2).transpose(1, 2))

    def point_to(self, token: Tensor, objectness: Tensor) -> Tensor:
        """Object pointers [T, d] of mask tokens [T, c]; a hidden object has the learned one."""
        visible = (objectness > 0).to(token.dtype)[:, None]
        return visible * self.heads.pointer(token) + (1 - visible) * self.no_pointer

    def condition(self, p16: Tensor, remembered: Remembered, windows: Windows | None = None) -> Tensor:
        """Tokens of the frame, or of a window of each track, that know the tracks: [T, N, c]."""
        height, columns = p16.shape[2:]
        tokens = self._tokens(p16)  # [1, N, c]
        places = cell_places(height, columns).to(p16)  # [N, 2]
        key, value, used = self._keys(remembered, (height, columns))
        attended = self.attention(
            tokens + INPUT_PLACES * sine_places(places, tokens.shape[2]), key, value,
            self._waves(places).to(p16), self._key_waves(remembered, (height, columns)).to(p16), used, windows,
        )  # fmt: skip
        if windows is not None:
            return attended
        known = remembered.memory_used.any(1).to(p16.dtype)[:, None, None]
        return known * attended + (1 - known) * (tokens + self.no_memory)

    def _keys(self, remembered: Remembered, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Keys (with places and times), values, and which of them count, of slots and then of pointers."""
        memory = remembered.memory
        tracks, slots, latents, width = memory.shape
        age = remembered.memory_age.clamp(0, self.config.ring)
        placed = memory + self._latent_places(grid).to(memory) + functional.embedding(age, self.time)[:, :, None]
        pointers = remembered.pointers
        count, parts = pointers.shape[1], pointers.shape[2] // width
        when = self.pointer_time(self._pointer_waves(remembered.pointer_age, pointers.shape[2]))  # [T, P, m]
        split = pointers.reshape(tracks, count, parts, width)
        key = torch.cat([placed.flatten(1, 2), (split + when[:, :, None]).flatten(1, 2)], 1)
        value = torch.cat([memory.flatten(1, 2), split.flatten(1, 2)], 1)
        used = torch.cat(
            [
                remembered.memory_used[:, :, None].expand(-1, -1, latents).reshape(tracks, slots * latents),
                remembered.pointer_used[:, :, None].expand(-1, -1, parts).reshape(tracks, count * parts),
            ],
            1,
        )
        return key, value, used

    def _latent_places(self, grid: tuple[int, int]) -> Tensor:
        """Sine table of one slot's latents [L, m]; global ones have no place."""
        if self.perceiver is None:
            return sine_places(cell_places(*grid), self.config.width)
        placed = sine_places(self.perceiver.places(*grid), self.config.width)
        return torch.cat([torch.zeros(self.config.latents_global, self.config.width), placed])

    def _waves(self, places: Tensor) -> Tensor:
        own = self.config
        return rope_waves(places, own.attention_width, own.rope_base, own.rope_cells)

    def _key_waves(self, remembered: Remembered, grid: tuple[int, int]) -> Tensor:
        """Waves of all keys [2, K, attention_width / 2]; global latents and pointers are not turned."""
        own = self.config
        slots = remembered.memory.shape[1]
        pointer_tokens = remembered.pointers.shape[1] * (remembered.pointers.shape[2] // own.width)
        if self.perceiver is None:
            slot = self._waves(cell_places(*grid))
        else:
            still = still_waves(own.latents_global, own.attention_width)
            slot = torch.cat([still, self._waves(self.perceiver.places(*grid))], 1)
        return torch.cat([slot.repeat(1, slots, 1), still_waves(pointer_tokens, own.attention_width)], 1)

    def _pointer_waves(self, age: Tensor, channels: int) -> Tensor:
        """Sine table of ages [T, P] in frames: [T, P, channels]; sines first, then cosines (SAM 2)."""
        own = self.config
        return time_waves(age.clamp(max=float(own.pointer_span)) / max(1, own.pointer_span - 1), channels)

    def _best(self, drawn: Drawn, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Which mask is given, and whose token becomes the pointer, int64 [T] each: with at most one point the best
        candidate's, else the first one's. Both are of one mask here; SAM 3's tracker may take two."""
        tracks = drawn.iou.shape[0]
        if self.config.candidates == 0:
            first = torch.zeros(tracks, dtype=torch.int64, device=drawn.iou.device)
            return first, first
        ambiguous = (labels >= 0).sum(1) <= 1
        best = 1 + drawn.iou[:, 1:].argmax(1)
        chosen = torch.where(ambiguous, best, torch.zeros_like(best))
        return chosen, chosen


def time_waves(when: Tensor, channels: int) -> Tensor:
    """Sine table of times [...] in spans: [..., channels]; sines first, then cosines (SAM 2)."""
    half = channels // 2
    steps = 2 * (torch.arange(half, device=when.device) // 2) / half
    angles = when[..., None] / 10000.0 ** steps.to(when.dtype)
    return torch.cat([angles.sin(), angles.cos()], -1)
