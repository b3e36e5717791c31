# SPDX-License-Identifier: Apache-2.0
"""int8 stands in the graph as quantise and dequantise nodes that TensorRT takes, near what the graph said before."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from esam3_core.deploy.agreement import closeness
from esam3_core.deploy.precision import emulate, type_graph
from esam3_core.deploy.quantise import quantise, unquantise
from esam3_core.deploy.tensorrt_api import BuildOptions, build_engine, find_tensorrt
from tests.deploy.test_precision import run_feeds


@pytest.fixture(scope="module")
def network() -> ModelProto:
    """Convolution, product, product of two activations, head: x [1, 8, 12, 12] -> logits [1, 144, 4]."""
    rng = np.random.default_rng(0)
    stored = {
        "w": rng.normal(size=(16, 8, 3, 3)) / 8, "bias": rng.normal(size=16) / 8, "m": rng.normal(size=(16, 16)) / 4,
        "head": rng.normal(size=(16, 4)) / 4,
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "bias"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Reshape", ["r", "flat"], ["f"], "reshape"),
        helper.make_node("Transpose", ["f"], ["t"], "transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "m"], ["q"], "product"),
        helper.make_node("MatMul", ["q", "f"], ["a"], "attention"),
        helper.make_node("Softmax", ["a"], ["s"], "softmax", axis=-1),
        helper.make_node("MatMul", ["s", "t"], ["v"], "values"),
        helper.make_node("MatMul", ["v", "head"], ["logits"], "last"),
    ]
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 12, 12]),
             helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 144, 4])]  # fmt: skip
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()]
    weights.append(numpy_helper.from_array(np.array([1, 16, 144], np.int64), "flat"))
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.fixture(scope="module")
def feeds() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, 8, 12, 12)).astype(np.float32)} for _ in range(3)]


def quantised(model: ModelProto) -> set[str]:
    """Names of the products whose data and weights are both dequantised."""
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    return {
        node.name
        for node in model.graph.node
        if node.op_type in ("Conv", "MatMul") and all(made.get(name) == "DequantizeLinear" for name in node.input[:2])
    }


def test_products_with_weights_are_quantised_but_not_attention_or_the_head(network: ModelProto, feeds: list) -> None:
    assert quantised(quantise(network, "detector", feeds)) == {"conv", "product"}


def test_a_kept_node_is_not_quantised(network: ModelProto, feeds: list) -> None:
    assert quantised(quantise(network, "detector", feeds, kept=["c"])) == {"product"}


def test_a_node_that_is_left_out_computes_as_before_without_new_ranges(network: ModelProto, feeds: list) -> None:
    made = quantise(network, "detector", feeds)
    assert quantised(unquantise(made, network, ["q"])) == {"conv"}
    np.testing.assert_array_equal(
        run_feeds(unquantise(made, network, ["c", "q"]), feeds[0]), run_feeds(network, feeds[0])
    )


def test_an_output_that_a_product_reads_too_is_not_rounded(network: ModelProto, feeds: list) -> None:
    two = ModelProto()
    two.CopyFrom(network)
    two.graph.output.insert(0, helper.make_tensor_value_info("t", TensorProto.FLOAT, [1, 144, 16]))
    made = unquantise(quantise(two, "detector", feeds), two, ["c"])
    assert quantised(made) == {"product"}
    np.testing.assert_array_equal(run_feeds(made, feeds[0]), run_feeds(two, feeds[0]))


def test_it_is_symmetric_and_per_channel_as_tensorrt_demands(network: ModelProto, feeds: list) -> None:
    made = quantise(network, "detector", feeds)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in made.graph.initializer}
    scales = Counter()
    for node in made.graph.node:
        if node.op_type == "DequantizeLinear":
            assert values[node.input[2]].dtype == np.int8 and not values[node.input[2]].any()
            scales[values[node.input[1]].size] += 1
    assert scales[16] == 2  # the channels of both weights


def test_the_quantised_graph_says_nearly_the_same(network: ModelProto, feeds: list) -> None:
    made = quantise(network, "detector", feeds)
    new = {"x": np.random.default_rng(2).normal(size=(1, 8, 12, 12)).astype(np.float32)}
    exact = run_feeds(network, new)
    assert closeness(exact, run_feeds(made, new)) > 0.995
    assert closeness(exact, run_feeds(emulate(made, "detector", "int8"), new)) > 0.995


def test_tensorrt_builds_it(network: ModelProto, feeds: list) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is for Linux on x86-64: pip install '.[check]'")
    typed = type_graph(quantise(network, "detector", feeds), "detector", "int8").model
    onnx.checker.check_model(typed, full_check=True)
    assert build_engine(find_tensorrt("check"), typed.SerializeToString(), {}, BuildOptions(level=0))


def test_the_memorizer_stays_and_no_run_is_refused(network: ModelProto, feeds: list) -> None:
    assert quantise(network, "memorizer", feeds) == network
    with pytest.raises(ValueError, match="int8 needs runs of detector to measure ranges on: give a --source"):
        quantise(network, "detector", [])
