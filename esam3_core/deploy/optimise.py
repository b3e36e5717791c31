# SPDX-License-Identifier: Apache-2.0
"""Simplify a traced graph, and leave the weights as they are.

The exporter's own optimisation folds BatchNorm into convolutions and gives transposed weights names of their own.
Engines fold BatchNorm when they load a graph; done here, a bundle could neither keep the trunk's weights in half
precision nor give them back (`weights.py`).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common as rules

from esam3_core.deploy.cpu_forms import join_rows, order_gelu

ROUNDS = 2  # folding makes room for rewriting and the other way round
FOLDED_INPUT = 8192  # elements; larger constants are weights or tables, not shapes
FOLDED_OUTPUT = 1 << 19  # elements; position tables of 1008 pixels fit
TRANSPOSED = ".T"  # ends the name of a weight that is stored transposed
UNCHANGED = frozenset({
    "fuse_batchnorm_into_conv_rule",
    "fuse_batchnorm_into_conv_transpose_rule",
    "fuse_batchnorm_into_gemm_rule",
})  # fmt: skip
KINDS = (
    "dropout", "no_op", "cast_cast", "slice_split", "squeeze_reshape",
    "transpose_", "unsqueeze_", "reshape_reshape", "reshape_", "collapse_slice", "materialize_reshape",
    "fuse_pad_into_conv", "normalize_pad", "successive_", "min_", "max_", "one_reshape", "two_reshapes",
    "cast_constant_of_shape",
)  # fmt: skip


def optimise(model: ir.Model) -> ir.Model:
    """Fold constants, drop what does nothing, merge what is computed twice; in place.

    Returns:
        The same model.
    """
    chosen = [
        rule for name, rule in vars(rules).items()
        if name.endswith("_rule") and name not in UNCHANGED and name.startswith(KINDS)
    ]  # fmt: skip
    common.InlinePass()(model)
    _transpose_weights(model.graph)
    weights = set(model.graph.initializers)

    def folds(node: ir.Node) -> bool | None:
        """No node that reads a weight; None leaves any other to the size limits."""
        return False if any(value is not None and value.name in weights for value in node.inputs) else None

    for _ in range(ROUNDS):
        optimizer.fold_constants(
            model, input_size_limit=FOLDED_INPUT, output_size_limit=FOLDED_OUTPUT, should_fold=folds
        )
        rewriter.rewrite(model, pattern_rewrite_rules=chosen)
        optimizer.remove_unused_nodes(model)
    order_gelu(model)
    join_rows(model)
    for step in (
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.CommonSubexpressionEliminationPass(),
        common.NameFixPass(),
        common.ClearMetadataAndDocStringPass(),  # stack traces with the paths of this machine
    ):
        step(model)
    return model


def _transpose_weights(graph: ir.Graph) -> None:
    """Store a matrix that is only used transposed that way round, under its own name with `TRANSPOSED` behind."""
    for node in list(graph):
        source = node.inputs[0] if node.op_type == "Transpose" else None
        if source is None or source.name not in graph.initializers or source.const_value is None:
            continue
        values = source.const_value.numpy()
        if values.ndim != 2:
            continue
        turned = ir.Value(name=f"{source.name}{TRANSPOSED}", const_value=ir.tensor(np.ascontiguousarray(values.T)))
        turned.shape, turned.type = ir.Shape(values.T.shape), source.type
        turned = graph.initializers.setdefault(str(turned.name), turned)
        node.outputs[0].replace_all_uses_with(turned)
        graph.remove(node, safe=True)
