# SPDX-License-Identifier: Apache-2.0
"""Weights stored in half precision, computed in single: half the file, the same result.

The student's weights are rounded to float16 values before tracing, so every large tensor of the graph can be stored
as float16 with a Cast behind it. Engines fold the Cast when they load the graph; it costs nothing per frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn

HALF = "_half"  # ends the name of a tensor that is stored so
SMALLEST = 1024  # elements; smaller tensors stay as they are


@torch.no_grad()
def round_to_half(module: nn.Module) -> None:
    """Round every parameter to the nearest float16 value, in place; it stays float32."""
    for parameter in module.parameters():
        parameter.copy_(parameter.half().float())


def store_half(path: Path) -> None:
    """Rewrite an ONNX file with its large float32 tensors as float16 wherever that loses nothing."""
    model = onnx.load(str(path))
    graph = model.graph
    casts, kept = [], []
    for tensor in graph.initializer:
        half = _as_half(tensor)
        if half is None:
            kept.append(tensor)
            continue
        name = tensor.name
        kept.append(numpy_helper.from_array(half, name + HALF))
        casts.append(helper.make_node("Cast", [name + HALF], [name], to=onnx.TensorProto.FLOAT))
    del graph.initializer[:]
    graph.initializer.extend(kept)
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + nodes)
    onnx.save(model, str(path))


def _as_half(tensor: onnx.TensorProto) -> np.ndarray | None:
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return None
    values = numpy_helper.to_array(tensor)
    if values.size < SMALLEST:
        return None
    half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else None
