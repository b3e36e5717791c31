# SPDX-License-Identifier: Apache-2.0
"""What a graph has to compute and to move, node by node, from its own shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, ValueInfoProto, helper
from onnx.shape_inference import infer_shapes

from esam3_core.deploy.precision import ARITHMETIC, PRODUCTS

FREE = frozenset({
    "Reshape", "Unsqueeze", "Squeeze", "Identity", "Flatten", "Expand", "Cast", "Relu", "HardSwish", "HardSigmoid",
    "BatchNormalization", "Gelu", "Erf", "Sigmoid", "Tanh", "Sqrt", "Exp", "Log", "Sin", "Cos", "Shape", "Constant",
    "ConstantOfShape", "Range", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "Not", "And", "Or",
}) | ARITHMETIC  # fmt: skip
"""Kinds that move nothing of their own: they change only a shape, or an engine fuses them into the node before."""

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


@dataclass(frozen=True)
class Work:
    """One node that costs something."""

    kind: str
    operations: float  # multiplications and additions
    values: float  # elements that are read and written, weights included


def work_of(model: ModelProto, rows: int) -> list[Work]:
    """The nodes that cost something, in their order.

    Args:
        model: as `graph_file.read_graph` gives it; it is not changed.
        rows: size of its dynamic axis (concepts or tracks).
    """
    shapes = shapes_of(model, rows)
    found = []
    for node in model.graph.node:
        if node.op_type in FREE:
            continue
        moved = sum(prod(shapes[name]) for name in (*node.input, *node.output) if name in shapes)
        if node.op_type in ("Gather", "GatherElements", "GatherND", "Slice"):
            moved = 2 * prod(shapes[node.output[0]])  # only what is picked is read
        found.append(Work(node.op_type, operations_of(node, shapes), float(moved)))
    return found


def shapes_of(model: ModelProto, rows: int) -> Shapes:
    """Value -> shape, of everything in a graph, with `rows` for its dynamic axis.

    A shape that the graph computes itself and that inference gives up on is found by running the graph once.
    """
    fixed = ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for port in (*fixed.graph.input, *fixed.graph.output):
        for side in port.type.tensor_type.shape.dim:
            if side.dim_param:
                side.dim_value = rows
    fixed = infer_shapes(fixed, strict_mode=True, data_prop=True)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in fixed.graph.initializer}
    for value in (*fixed.graph.input, *fixed.graph.value_info, *fixed.graph.output):
        sides = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(side.HasField("dim_value") for side in sides):
            shapes[value.name] = tuple(side.dim_value for side in sides)
    unknown = [name for node in fixed.graph.node for name in node.output if name and name not in shapes]
    return shapes | _run_for_shapes(fixed, unknown) if unknown else shapes


def _run_for_shapes(model: ModelProto, names: Sequence[str]) -> Shapes:
    """Shapes of some values, from a run on zeros."""
    told = {port.name for port in model.graph.output}
    model.graph.output.extend(ValueInfoProto(name=name) for name in names if name not in told)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {
        port.name: np.zeros(
            [side.dim_value for side in port.type.tensor_type.shape.dim],
            helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type),
        )
        for port in model.graph.input
    }
    return {name: np.shape(value) for name, value in zip(names, session.run(list(names), feeds), strict=True)}


def operations_of(node: NodeProto, shapes: Shapes) -> float:
    """Multiplications and additions of one node; 0 for what is not a product."""
    count = COUNTS.get(node.op_type)
    return float(2 * count(node, shapes)) if count else 0.0


def _conv(node: NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])


def _conv_transpose(node: NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.input[0]]) * prod(shapes[node.input[1]][1:])


def _matmul(node: NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    turned = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if turned else 1]


def _einsum(node: NodeProto, shapes: Shapes) -> int:
    equation = next(attribute.s.decode() for attribute in node.attribute if attribute.name == "equation")
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sides: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        sides |= dict(zip(term, shapes[name], strict=True))
    return prod(sides.values())


COUNTS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
}
assert set(COUNTS) == PRODUCTS
