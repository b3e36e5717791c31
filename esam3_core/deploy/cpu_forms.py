# SPDX-License-Identifier: Apache-2.0
"""Forms under which ONNX Runtime finds its fast kernels for CPUs; what is computed stays the same.

It joins the nodes of a GELU only where they multiply in a certain order, and adds a linear layer's bias within the
product only where every size is fixed, which no graph over concepts or tracks is. Both are written so at export.
The second is taken back on a graph's way to TensorRT (`rows.py`), which joins products and sums of any size itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import RewriteRuleSet, pattern

from esam3_core.deploy.rows import ROWS


def order_gelu(model: ir.Model) -> None:
    """Multiply by one half last, in place: (x * (1 + erf(x / sqrt 2))) * 0.5."""

    def exported(op: Any, x: Any, root: Any, one: Any, half: Any) -> Any:
        return op.Mul(x, op.Mul(half, op.Add(op.Erf(op.Div(x, root)), one)))

    def known(op: Any, x: Any, root: Any, one: Any, half: Any) -> Any:
        return op.Mul(op.Mul(x, op.Add(op.Erf(op.Div(x, root)), one)), half)

    def is_gelu(_: Any, root: ir.Value, one: ir.Value, half: ir.Value, **__: Any) -> bool:
        return all(_is(value, number) for value, number in ((root, 2**0.5), (one, 1.0), (half, 0.5)))

    RewriteRuleSet([pattern.RewriteRule(exported, known, is_gelu)], commute=True).apply_to_model(model)


def _is(value: ir.Value, number: float) -> bool:
    tensor = ir.convenience.get_const_tensor(value)
    return tensor is not None and tensor.size == 1 and bool(np.isclose(tensor.numpy().item(), number, rtol=1e-5))


def join_rows(model: ir.Model) -> None:
    """Turn x @ weight + bias, x [dynamic, ..., n], into one Gemm over all rows of x at once, in place."""
    graph = model.graph
    for product in [node for node in graph if node.op_type == "MatMul"]:
        total = _bias_added(product)
        if total is None:
            continue
        x, weight = product.inputs
        bias, made = _other(total, product.outputs[0]), total.outputs[0]
        assert x is not None and weight is not None and weight.const_value is not None and made.shape is not None
        fixed = [int(side) for side in made.shape.dims[1:] if isinstance(side, int)]
        rows = ir.node("Reshape", [x, _sizes(graph, -1, weight.const_value.numpy().shape[0])])
        gemm = ir.node("Gemm", [rows.outputs[0], weight, bias])
        back = ir.node("Reshape", [gemm.outputs[0], _sizes(graph, -1, *fixed)])
        rows.outputs[0].name, gemm.outputs[0].name = f"{x.name}{ROWS}", f"{made.name}{ROWS}"
        rows.outputs[0].type = gemm.outputs[0].type = made.type
        graph.insert_before(total, [rows, gemm, back])
        ir.convenience.replace_nodes_and_values(graph, total, [product, total], [back], [made], [back.outputs[0]])


def _bias_added(product: ir.Node) -> ir.Node | None:
    """The Add of a bias behind the product with a weight, if only that reads it and no size but the first varies."""
    readers = [use.node for use in product.outputs[0].uses()]
    if len(readers) != 1 or product.outputs[0].is_graph_output():
        return None
    total = readers[0]
    shape = total.outputs[0].shape
    if total.op_type != "Add" or shape is None or len(shape) < 3 or isinstance(shape[0], int):
        return None
    fixed = all(isinstance(side, int) for side in shape.dims[1:])
    stored = _rank(product.inputs[1]) == 2 and _rank(_other(total, product.outputs[0])) == 1
    return total if fixed and stored else None


def _other(total: ir.Node, one: ir.Value) -> ir.Value | None:
    return next((value for value in total.inputs if value is not one), None)


def _rank(value: ir.Value | None) -> int:
    """Axes of a weight; -1 for what is none."""
    return -1 if value is None or value.const_value is None else len(value.const_value.shape)


def _sizes(graph: ir.Graph, *sizes: int) -> ir.Value:
    """A shape as an initializer, each only once."""
    name = "_".join(["sizes", *(str(size) for size in sizes)]).replace("-1", "all")
    if name not in graph.initializers:
        value = ir.Value(name=name, const_value=ir.tensor(np.array(sizes, np.int64), name=name))
        value.shape, value.dtype = ir.Shape([len(sizes)]), ir.DataType.INT64
        graph.register_initializer(value)
    return graph.initializers[name]
