# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation folded into the convolution before it, as every engine does when it loads a graph.

Here it is done before a precision is written in: rounded to half, a small variance would lose its digits, and between
a weight in int8 and its convolution no engine folds anything.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

EPSILON = 1e-5  # ONNX's default
FOLDED = "_folded"  # ends the name of a weight or bias that was changed so


def fold_norms(model: ModelProto) -> None:
    """Fold each BatchNormalization whose input is a convolution that nothing else reads, in place.

    Args:
        model: with float32 weights (`graph_file.unpack_weights`).
    """
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    maker = {node.output[0]: node for node in graph.node}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(port.name for port in graph.output)
    for norm in [node for node in graph.node if node.op_type == "BatchNormalization"]:
        conv = maker.get(norm.input[0])
        if conv is None or conv.op_type != "Conv" or readers[conv.output[0]] != 1:
            continue
        if not {*norm.input[1:], *conv.input[1:]} <= set(stored):
            continue
        weight, bias = _folded(norm, conv, stored)
        conv.input[:] = [conv.input[0], weight.name, bias.name]
        conv.output[:] = norm.output[:1]
        graph.initializer.extend([weight, bias])
        graph.node.remove(norm)


def _folded(norm: NodeProto, conv: NodeProto, stored: dict[str, TensorProto]) -> tuple[TensorProto, TensorProto]:
    """Weight and bias of the convolution that does both."""
    gain, shift, mean, variance = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in norm.input[1:])
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), EPSILON)
    scale = gain / np.sqrt(variance + epsilon)
    weight, *biases = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in conv.input[1:])
    bias = (biases[0] if biases else 0.0) - mean
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    name = f"{norm.output[0]}{FOLDED}"
    return (
        numpy_helper.from_array(weight.astype(np.float32), f"{name}_weight"),
        numpy_helper.from_array((bias * scale + shift).astype(np.float32), f"{name}_bias"),
    )
