# SPDX-License-Identifier: Apache-2.0
"""Linear layers as products and sums again, where export joined the rows of all tracks or concepts (`cpu_forms.py`)."""

from __future__ import annotations

from onnx import ModelProto, helper

ROWS = "_rows"  # ends the name of a tensor whose axes but for the last are joined


def split_rows(model: ModelProto) -> None:
    """Turn what `join_rows` made into a product and a sum again, in place; unused sizes stay behind."""
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output}
    reader = {name: node for node in graph.node for name in node.input}
    for gemm in graph.node:
        if gemm.op_type != "Gemm" or not (gemm.input[0].endswith(ROWS) and gemm.output[0].endswith(ROWS)):
            continue
        x, back = maker[gemm.input[0]].input[0], reader[gemm.output[0]]
        back.CopyFrom(helper.make_node("Add", [gemm.output[0], gemm.input[2]], list(back.output)))
        gemm.CopyFrom(helper.make_node("MatMul", [x, gemm.input[1]], list(gemm.output)))
    read = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if node.output[0].endswith(ROWS) and node.output[0] not in read]:
        graph.node.remove(node)
