# SPDX-License-Identifier: Apache-2.0
"""Small layers that every block shares, written so that they export to plain, fusable ONNX nodes.

Attention is written out (q scaled first, softmax in float32) because decomposed fused attention loses precision in
FP16 engines; layer norms on maps go through a real LayerNorm for the same reason.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

LONG = 1 << 22  # numbers between two steps from which a graph does not hold them at once: 8 heads' logits take 0.1 GB
ROWS = 288  # queries or tokens at a time in a graph then
FUSED_FROM = 1 << 18  # logits of a head from which attention is one node of a graph: it is faster from about here
FUSED = "com.microsoft::MultiHeadAttention"
"""ONNX Runtime's attention that never holds its logits. For all other engines a graph says what it means: see
`deploy.fused`."""
Sides = tuple[Tensor, Tensor]
"""Attention bias of a grid of keys: what its rows [B, heads, Nq, h] and its columns [B, heads, Nq, w] give each key."""


class MLP(nn.Module):
    """Linear layers with ReLU between them: widths[0] -> ... -> widths[-1]."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.hidden = widths[1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() and x.ndim == 3 and x.shape[1] * self.hidden >= LONG:
            # What lies between the layers then stays in the processor's cache.
            return torch.cat([self._dense(rows) for rows in x.split(ROWS, 1)], 1)
        return self._dense(x)

    def _dense(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


class Attention(nn.Module):
    """Multi-head attention, batch first.

    Args:
        width: channels of queries, keys, values and output; a multiple of `heads`.
        heads: number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def _split(self, x: Tensor) -> Tensor:
        if self.heads == 1:
            return x[:, None]  # to transpose one head would copy it for nothing
        batch, length, width = x.shape
        return x.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def _join(self, x: Tensor) -> Tensor:
        return x[:, 0] if self.heads == 1 else x.transpose(1, 2).flatten(2)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | Sides | None = None) -> Tensor:
        """Attend.

        Args:
            query: [B, Nq, d]; key, value: [B, Nk, d]; either may have batch 1 and is shared then.
            bias: added to the attention logits, broadcastable to [B, heads, Nq, Nk]; use a large
                negative number for keys that must not be seen. Given as its sides, one head is computed at a time.

        Returns:
            [B, Nq, d]
        """
        q, k, v = self.query(query) * self.scale, self.key(key), self.value(value)
        logits = 0 if bias is not None else q.shape[1] * k.shape[1]
        if logits >= FUSED_FROM and torch.onnx.is_in_onnx_export():
            return self.out(attend_fused(q, k, v, self.heads))
        if isinstance(bias, tuple):
            return self.out(attend_by_head(q, k, v, bias))  # the bias of all heads takes 33 MB, for 201 queries
        q, k, v = self._split(q), self._split(k), self._split(v)  # [B, heads, N, d / heads]
        mixed = attend_long(q, k, v) if logits >= LONG else attend(q, k, v, bias)
        return self.out(self._join(mixed))


def attend_fused(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Attention of several heads as one node of a graph; q [B, Nq, d], scaled already, k and v [B, Nk, d]."""
    return torch.onnx.ops.symbolic(
        FUSED, (q, k, v), {"num_heads": heads, "scale": 1.0}, dtype=q.dtype, shape=q.shape, version=1
    )


def attend_by_head(q: Tensor, k: Tensor, v: Tensor, sides: Sides) -> Tensor:
    """Attention head by head; q [B, Nq, d], scaled already, k and v [B, Nk, d] -> [B, Nq, d]."""
    heads = sides[0].shape[1]
    parts = [x.unflatten(2, (heads, -1)).unbind(2) for x in (q, k, v)]
    mixed = []
    for q1, k1, v1, down, across in zip(*parts, *(side.unbind(1) for side in sides), strict=True):
        mixed.append(attend(q1, k1, v1, (down[..., :, None] + across[..., None, :]).flatten(2)))
    return torch.cat(mixed, 2)


def attend_long(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention whose logits are never held as a whole.

    Args:
        q: [..., Nq, c], scaled already; k: [..., Nk, c]; v: [..., Nk, e].
        bias: broadcastable to [..., 1, Nk], the same for all queries.
    """
    if not torch.compiler.is_compiling():
        q = q.expand(*torch.broadcast_shapes(q.shape[:-2], k.shape[:-2]), -1, -1)
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    return torch.cat([attend(rows, k, v, bias) for rows in q.split(ROWS, -2)], -2)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attention written out; arguments as for `attend_long`, the bias may differ between queries."""
    logits = q @ k.transpose(-2, -1)  # [B, heads, Nq, Nk]
    if bias is not None:
        logits = logits + bias
    return logits.float().softmax(-1).to(v.dtype) @ v


def pad_bias(pad: Tensor) -> Tensor:
    """Padding mask [B, L] (True = pad) as an attention bias [B, 1, 1, L]."""
    return pad[:, None, None, :].float() * -1e4


def grid_centres(height: int, width: int) -> Tensor:
    """Centres of the cells of a grid, (x, y) in 0..1, row-major: [height * width, 2]."""
    y, x = torch.meshgrid(
        (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij"
    )
    return torch.stack([x.flatten(), y.flatten()], -1)


def sine_embedding(values: Tensor, channels: int, temperature: float = 10000.0) -> Tensor:
    """Sine position embedding of numbers in 0..1: [..., n] -> [..., n * channels].

    As in DETR: scale 2 pi, `channels` sines and cosines interleaved per number.
    """
    steps = torch.arange(channels // 2, device=values.device, dtype=torch.float32)
    frequencies = 2 * math.pi * temperature ** (-2 * steps / channels)  # [channels/2]
    angles = values[..., None] * frequencies  # [..., n, channels/2]
    waves = torch.stack([angles.sin(), angles.cos()], -1)  # [..., n, channels/2, 2]
    return waves.flatten(-3)


def sine_map(height: int, width: int, channels: int) -> Tensor:
    """Positions of the cells of a grid as SAM 3 has them: y, then x, counted from 1: [height * width, channels]."""
    y, x = torch.meshgrid(
        torch.arange(1, height + 1) / (height + 1e-6), torch.arange(1, width + 1) / (width + 1e-6), indexing="ij"
    )
    return sine_embedding(torch.stack([y.flatten(), x.flatten()], -1), channels // 2)


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """Logit of numbers in 0..1, clamped away from the ends."""
    x = x.clamp(eps, 1 - eps)
    return (x / (1 - x)).log()
