# SPDX-License-Identifier: Apache-2.0
"""Head and pyramid of official checkpoints in our names, with what is linear put together."""

from __future__ import annotations

import torch
from torch import Tensor

from esam3_core.convert.blocks import State, batch_norm, linear
from esam3_core.convert.entries import Entries
from esam3_core.nn.sam3_neck import HIDDEN


def head_state(entries: Entries, prefix: str, channels: int) -> State:
    """The projection head under `prefix` ("...trunk.model.head.") as `Sam3Neck.project`.

    Args:
        channels: of the trunk's last map.
    """
    state = {"project.0.0.weight": entries.take(f"{prefix}0.weight", (HIDDEN, channels, 1, 1))}
    state |= batch_norm(entries, f"{prefix}1", "project.0.1", HIDDEN)
    return state | linear(entries, f"{prefix}3", "project.2", (HIDDEN, HIDDEN, 3, 3))


def pyramid_state(entries: Entries, prefix: str, width: int) -> State:
    """The pyramid under `prefix` ("...vision_backbone.convs.") as a `Pyramid`."""
    half = HIDDEN // 2
    fine = _transposed(entries, f"{prefix}0.dconv_2x2_1", half, width)
    fine = _apply(fine, _one(entries, f"{prefix}0", width, width))
    middle = _transposed(entries, f"{prefix}1.dconv_2x2", HIDDEN, half)
    middle = _apply(middle, _one(entries, f"{prefix}1", half, width))
    state = {
        **_as_convolution("to4", *_transposed(entries, f"{prefix}0.dconv_2x2_0", HIDDEN, half)),
        **_as_convolution("fine4", *fine),
        **_as_convolution("to8", *middle),
        **linear(entries, f"{prefix}2.conv_1x1", "to16", (width, HIDDEN, 1, 1)),
    }
    for level, name in enumerate(("smooth4", "smooth8", "smooth16")):
        state |= linear(entries, f"{prefix}{level}.conv_3x3", name, (width, width, 3, 3))
    entries.skip(entries.names(f"{prefix}3."), "makes a coarser level that the detector drops")
    return state


def _transposed(entries: Entries, source: str, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """A 2x2 convolution with stride 2, transposed: weight [inputs, outputs, 2, 2], bias [outputs], in float64."""
    weight = entries.take(f"{source}.weight", (inputs, outputs, 2, 2))
    return weight.double(), entries.take(f"{source}.bias", (outputs,)).double()


def _one(entries: Entries, source: str, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """A 1x1 convolution: weight [outputs, inputs], bias [outputs], in float64."""
    weight = entries.take(f"{source}.conv_1x1.weight", (outputs, inputs, 1, 1))[:, :, 0, 0]
    return weight.double(), entries.take(f"{source}.conv_1x1.bias", (outputs,)).double()


def _apply(transposed: tuple[Tensor, Tensor], one: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """A transposed convolution and the 1x1 convolution behind it as one transposed convolution."""
    weight = torch.einsum("icyx,oc->ioyx", transposed[0], one[0])
    return weight, one[0] @ transposed[1] + one[1]


def _as_convolution(name: str, weight: Tensor, bias: Tensor) -> State:
    """A transposed 2x2 convolution as a 1x1 convolution whose channels are spread over the pixels."""
    inputs, outputs = weight.shape[:2]
    plain = weight.permute(1, 2, 3, 0).reshape(4 * outputs, inputs, 1, 1)
    return {f"{name}.weight": plain.float().contiguous(), f"{name}.bias": bias.repeat_interleave(4).float()}
