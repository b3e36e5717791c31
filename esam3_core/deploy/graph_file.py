# SPDX-License-Identifier: Apache-2.0
"""ONNX graphs on their way to TensorRT: read, with plain weights, and with inputs that it can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.inliner import inline_local_functions
from onnx.shape_inference import infer_shapes

from esam3_core.deploy.fold import fold_norms
from esam3_core.deploy.rows import split_rows
from esam3_core.runtime.errors import BundleError

WEIGHTS_AS = {TensorProto.FLOAT, TensorProto.FLOAT16}


def read_graph(path: Path) -> ModelProto:
    """A graph of a bundle in plain operators, with float32 weights, single-precision computing and casts first.

    Raises:
        BundleError: the file is cut short or no ONNX graph.
    """
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf and the checker raise unrelated classes
        reason = " ".join(str(error).split())[:200]
        raise BundleError(
            f"{path} is not a whole ONNX graph ({reason}): copy the bundle again, or make it again with `esam3 export`"
        ) from error
    model = inline_local_functions(model)  # of `fused`
    unpack_weights(model)
    split_rows(model)
    fold_norms(model)
    drop_unused(model)
    cast_inputs_first(model)
    return infer_shapes(model, strict_mode=True)


def unpack_weights(model: ModelProto) -> None:
    """Turn weights that are stored as float16 with a Cast behind them into float32 weights, in place."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] in stored]
    for node in casts:
        values = numpy_helper.to_array(stored[node.input[0]])
        if cast_type(node) in WEIGHTS_AS:
            values = values.astype(helper.tensor_dtype_to_np_dtype(cast_type(node)))
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), node.output[0]))
            graph.node.remove(node)
    drop_unused(model)


def cast_inputs_first(model: ModelProto) -> None:
    """Make uint8 inputs float before anything else happens to them, in place.

    TensorRT takes uint8 as an input and can cast it, but it cannot transpose or reshape it.
    """
    graph = model.graph
    for port in graph.input:
        if port.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        readers = [node for node in graph.node if port.name in node.input]
        if all(node.op_type == "Cast" for node in readers):
            continue
        real = f"{port.name}_float"
        for node in readers:
            node.input[:] = [real if name == port.name else name for name in node.input]
        graph.node.insert(0, helper.make_node("Cast", [port.name], [real], name=f"cast_{port.name}", to=1))
        del graph.value_info[:]  # what was uint8 before is float32 now


def cast_type(node: NodeProto) -> int:
    """The element type a Cast node casts to."""
    return next(int(attribute.i) for attribute in node.attribute if attribute.name == "to")


def drop_unused(model: ModelProto) -> None:
    """Remove weights that no node reads, in place."""
    graph = model.graph
    read = {name for node in graph.node for name in node.input} | {port.name for port in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def element_types(model: ModelProto) -> dict[str, int]:
    """Value -> element type, of inputs, weights and everything that is computed."""
    graph = model.graph
    types = {port.name: port.type.tensor_type.elem_type for port in (*graph.input, *graph.value_info, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    return types


def dynamic_inputs(model: ModelProto) -> dict[str, tuple[int | str, ...]]:
    """Inputs with a dynamic axis -> shape, in which that axis has a name."""
    shapes = {
        port.name: tuple(side.dim_value or side.dim_param for side in port.type.tensor_type.shape.dim)
        for port in model.graph.input
    }
    return {name: shape for name, shape in shapes.items() if any(isinstance(side, str) for side in shape)}
