# SPDX-License-Identifier: Apache-2.0
"""Attention as one node: ONNX Runtime has a kernel for it, everything else reads what it means.

A graph with such nodes brings a function of the same name along, in plain operators of ONNX. ONNX Runtime prefers its
kernel, which never holds the attention's logits (0.9 GB for 5184 tokens); `graph_file.read_graph`, through which a
graph goes on its way to TensorRT, puts the function's nodes in the place of the node, and TensorRT fuses these itself.
"""

from __future__ import annotations

import onnx_ir as ir
from onnx import FunctionProto, helper

from esam3_core.nn.layers import FUSED

DOMAIN, NAME = FUSED.split("::")
OPSET = 18  # of every graph, and so of the function


def explain_fused(model: ir.Model) -> None:
    """Add the function to a graph that has fused attention, in place.

    Raises:
        ValueError: the nodes differ in their number of heads.
    """
    nodes = [node for node in model.graph if (node.domain, node.op_type) == (DOMAIN, NAME)]
    heads = {node.attributes["num_heads"].as_int() for node in nodes}
    if len(heads) > 1:
        raise ValueError(f"one graph cannot say what attention with {sorted(heads)} heads means: use one number")
    if heads:
        function = ir.serde.deserialize_function(attention(heads.pop()))
        model.functions[function.identifier()] = function


def attention(heads: int) -> FunctionProto:
    """What the node computes: q [B, Nq, d], scaled already, k and v [B, Nk, d] -> [B, Nq, d]."""
    orders = {"q": [0, 2, 1, 3], "k": [0, 2, 3, 1], "v": [0, 2, 1, 3]}
    nodes = [
        helper.make_node("Constant", [], ["apart"], value_ints=[0, 0, heads, -1]),
        helper.make_node("Constant", [], ["together"], value_ints=[0, 0, -1]),
    ]
    for name, order in orders.items():
        nodes += [
            helper.make_node("Reshape", [name, "apart"], [f"{name}_apart"]),
            helper.make_node("Transpose", [f"{name}_apart"], [f"{name}_heads"], perm=order),
        ]
    nodes += [
        helper.make_node("MatMul", ["q_heads", "k_heads"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "v_heads"], ["mixed"]),
        helper.make_node("Transpose", ["mixed"], ["mixed_tokens"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["mixed_tokens", "together"], ["y"]),
    ]
    return helper.make_function(
        DOMAIN, NAME, ["q", "k", "v"], ["y"], nodes, [helper.make_opsetid("", OPSET)], ["num_heads", "scale"]
    )
