# SPDX-License-Identifier: Apache-2.0
"""Gradient checkpointing: blocks compute their activations again in the backward pass instead of keeping them
(Chen et al. 2016, "Training deep nets with sublinear memory cost")."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from esam3_core.nn.student import Student


def forget_activations(student: Student) -> int:
    """Let the trunk's stages and the layers of fusion encoder and decoder forget theirs; returns how many blocks."""
    blocks: list[nn.Module] = []
    for child in student.image_encoder.trunk.body.children():
        blocks += list(child.children()) if isinstance(child, nn.Sequential) else [child]
    blocks += list(student.detector.fusion.layers) + list(student.detector.decoder.layers)
    wrapped = [block for block in blocks if any(True for _ in block.parameters())]
    for block in wrapped:
        _wrap(block)
    return len(wrapped)


def _wrap(block: nn.Module) -> None:
    forward = block.forward

    def contexts() -> tuple[Any, Any]:
        return contextlib.nullcontext(), _no_second_count(block)

    def forgetful(*arguments: Any, **named: Any) -> Any:
        if not block.training:
            return forward(*arguments, **named)
        return checkpoint(forward, *arguments, use_reentrant=False, context_fn=contexts, **named)

    block.forward = forgetful  # type: ignore[method-assign]


@contextlib.contextmanager
def _no_second_count(block: nn.Module) -> Iterator[None]:
    """BatchNorm must not count the batch again when it is computed again.

    It still takes the same way through torch, which checks that both passes keep the same tensors.
    """
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    momenta = {norm: norm.momentum for norm in norms if norm.training}
    for norm in momenta:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
