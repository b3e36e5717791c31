# SPDX-License-Identifier: Apache-2.0
"""Blocks that many parts of official checkpoints share, in our names; every shape is checked."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from esam3_core.convert.entries import Entries

BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

State = dict[str, Tensor]


def linear(entries: Entries, source: str, target: str, shape: tuple[int, ...]) -> State:
    """A linear layer or a convolution with a bias; shape: of its weight."""
    return {
        f"{target}.weight": entries.take(f"{source}.weight", shape),
        f"{target}.bias": entries.take(f"{source}.bias", shape[:1]),
    }


def norm(entries: Entries, source: str, target: str, width: int) -> State:
    """A layer norm or a group norm."""
    return {f"{target}.{part}": entries.take(f"{source}.{part}", (width,)) for part in ("weight", "bias")}


def batch_norm(entries: Entries, source: str, target: str, width: int) -> State:
    """A batch norm with its statistics."""
    return {
        f"{target}.{part}": entries.take(f"{source}.{part}", (width,) if part != BATCH_NORM[-1] else ())
        for part in BATCH_NORM
    }


def mlp(entries: Entries, source: str, target: str, *widths: int) -> State:
    """Linear layers `source`.layers.0, .1, ...: widths[0] -> ... -> widths[-1]."""
    state: State = {}
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        state |= linear(entries, f"{source}.layers.{index}", f"{target}.layers.{index}", (outputs, inputs))
    return state


def attention(entries: Entries, source: str, target: str, width: int, fused: str = "in_proj_") -> State:
    """torch's multi-head attention, whose fused rows are queries, keys and values one after the other.

    Args:
        fused: what the names of the fused projection's weight and bias begin with.
    """
    state = linear(entries, f"{source}.out_proj", f"{target}.out", (width, width))
    weights = entries.take(f"{source}.{fused}weight", (3 * width, width)).split(width)
    biases = entries.take(f"{source}.{fused}bias", (3 * width,)).split(width)
    for name, matrix, offset in zip(("query", "key", "value"), weights, biases, strict=True):
        state |= {f"{target}.{name}.weight": matrix, f"{target}.{name}.bias": offset}
    return state


def feed_forward(entries: Entries, source: str, target: str, width: int, ffn: int) -> State:
    """linear1 and linear2 of a transformer layer."""
    return linear(entries, f"{source}.linear1", f"{target}.layers.0", (ffn, width)) | linear(
        entries, f"{source}.linear2", f"{target}.layers.1", (width, ffn)
    )
