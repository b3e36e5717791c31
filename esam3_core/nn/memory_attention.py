# SPDX-License-Identifier: Apache-2.0
"""Memory attention: the tokens of a frame look at what a track remembers (SAM 2, section 4; EdgeTAM, section 3.2).

RoPE turns only tokens that have a place: cells of the map, 2D latents. Global latents and object pointers have none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from esam3_core.nn.layers import LONG, MLP, attend, attend_long
from esam3_core.nn.rope import rotate
from esam3_core.nn.window import Windows

NEAR = 0.8  # of all channels of queries and keys at first: so a token looks at its own place before it has learnt more


class PlacedAttention(nn.Module):
    """Attention with one head, whose queries and some of whose keys are rotated.

    Args:
        width: channels of queries and output.
        key_width: channels of keys and values.
        inner: channels in which they are compared, a multiple of 4.
    """

    def __init__(self, width: int, key_width: int, inner: int) -> None:
        super().__init__()
        self.scale = inner**-0.5
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(key_width, inner)
        self.value = nn.Linear(key_width, inner)
        self.out = nn.Linear(inner, width)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, waves: Tensor, key_waves: Tensor, bias: Tensor | None = None
    ) -> Tensor:
        """Attend.

        Args:
            query: [B, N, width]; key, value: [B, K, key_width].
            waves: [2, N, inner / 2], of the queries; key_waves: [2, K, inner / 2], cosine 1 and sine 0 for keys
                without a place.
            bias: [B, 1, K], a large negative number for keys that must not be seen.
        """
        q = rotate(self.query(query) * self.scale, waves)
        k = rotate(self.key(key), key_waves)
        v = self.value(value)
        if q.shape[1] ** 2 >= LONG:
            return self.out(attend_long(q, k, v, bias))
        return self.out(attend(q, k, v, bias))


class MemoryLayer(nn.Module):
    """Pre-norm layer: self-attention (some layers), attention to memory, feed-forward."""

    def __init__(self, width: int, memory_width: int, inner: int, ffn: int, sees_itself: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width) if sees_itself else None
        self.self_attention = PlacedAttention(width, width, inner) if sees_itself else None
        self.norm2 = nn.LayerNorm(width)
        self.memory_attention = PlacedAttention(width, memory_width, inner)
        nn.init.constant_(self.memory_attention.query.bias, NEAR)
        nn.init.constant_(self.memory_attention.key.bias, NEAR)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = MLP(width, ffn, width)

    def look_around(self, x: Tensor, waves: Tensor) -> Tensor:
        """The tokens look at each other, in the layers that do."""
        if self.norm1 is None or self.self_attention is None:
            return x
        y = self.norm1(x)
        return x + self.self_attention(y, y, y, waves, waves)

    def look_back(
        self, x: Tensor, key: Tensor, value: Tensor, waves: Tensor, key_waves: Tensor, bias: Tensor
    ) -> Tensor:
        """The tokens look at memory, each by itself."""
        x = x + self.memory_attention(self.norm2(x), key, value, waves, key_waves, bias)
        return x + self.mlp(self.norm3(x))


class MemoryAttention(nn.Module):
    """A stack of memory layers, self-attention in the first `self_layers` of them.

    Self-attention of the very first layer sees nothing of any track, so all tracks share its cost.
    """

    def __init__(
        self, layers: int, self_layers: int, width: int, memory_width: int, inner: int, ffn: int
    ) -> None:
        super().__init__()
        self.layers: Sequence[MemoryLayer] = nn.ModuleList(  # type: ignore[assignment]
            MemoryLayer(width, memory_width, inner, ffn, index < self_layers) for index in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, key: Tensor, value: Tensor, waves: Tensor, key_waves: Tensor, used: Tensor,
        windows: Windows | None = None,
    ) -> Tensor:  # fmt: skip
        """Look at memory.

        Args:
            tokens: [1, N, c] of the frame (or [T, N, c]), c = `width`.
            key, value: [T, K, m], with and without places and times.
            waves: [2, N, inner / 2]; key_waves: [2, K, inner / 2], see `PlacedAttention`.
            used: bool [T, K]; the others are not seen. A track without any gets numbers that mean nothing, but finite
                ones: the caller puts others in their place.
            windows: only what lies in them looks at memory; the first look of the frame's tokens at each other is
                still of all of them.

        Returns:
            [T, N, c], or [T, w * w, c] in windows.
        """
        bias = (1.0 - used[:, None, :].to(tokens.dtype)) * -1e4  # [T, 1, K]
        for index, layer in enumerate(self.layers):
            tokens = layer.look_around(tokens, waves)
            if index == 0 and windows is not None:
                tokens, waves = windows.tokens(tokens), windows.waves(waves)
            tokens = layer.look_back(tokens, key, value, waves, key_waves, bias)
        return self.norm(tokens)


def still_waves(count: int, channels: int) -> Tensor:
    """Waves that rotate nothing, for tokens without a place: [2, count, channels / 2]."""
    return torch.stack([torch.ones(count, channels // 2), torch.zeros(count, channels // 2)])
