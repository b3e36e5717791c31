# SPDX-License-Identifier: Apache-2.0
"""A normalisation behind a convolution becomes part of it and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from esam3_core.deploy.fold import fold_norms
from esam3_core.deploy.gates import judge, run_graph
from esam3_core.deploy.graph_file import read_graph
from esam3_core.runtime.bundle import Bundle
from tests.deploy.test_precision import run_feeds

RANDOM = np.random.default_rng(0)


def normed(bias: bool, read_twice: bool = False) -> ModelProto:
    """x -> convolution of two groups -> normalisation -> y, the first variance so small that half forgets it."""
    stored = {
        "w": RANDOM.normal(size=(4, 1, 3, 3)), "b": RANDOM.normal(size=4), "gain": RANDOM.uniform(0.5, 2, 4),
        "shift": RANDOM.normal(size=4), "mean": RANDOM.normal(size=4), "variance": np.array([1e-9, 0.1, 1, 30]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"] if bias else ["x", "w"], ["c"], group=2),
        helper.make_node("BatchNormalization", ["c", "gain", "shift", "mean", "variance"], ["y"], epsilon=1e-3),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 6, 6])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 4, 4]) for name in "yc"[: 1 + read_twice]]
    weights = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", [x], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("bias", [False, True])
def test_the_convolution_does_both(bias: bool) -> None:
    model = normed(bias)
    feeds = {"x": RANDOM.normal(size=(1, 2, 6, 6)).astype(np.float32)}
    before = run_feeds(model, feeds)
    fold_norms(model)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    np.testing.assert_allclose(run_feeds(model, feeds), before, rtol=1e-4, atol=1e-4)


def test_a_convolution_that_something_else_reads_stays() -> None:
    model = normed(True, read_twice=True)
    fold_norms(model)
    assert [node.op_type for node in model.graph.node] == ["Conv", "BatchNormalization"]


def test_the_shipped_encoder_has_none_left_and_says_the_same(tmp_path) -> None:
    path = Bundle.load("tabletop").graphs["image_encoder"]
    model = read_graph(path)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    (tmp_path / "folded.onnx").write_bytes(model.SerializeToString())
    side = model.graph.input[0].type.tensor_type.shape.dim
    image = RANDOM.integers(0, 256, [one.dim_value for one in side], np.uint8)
    found = judge("onnx", "image_encoder", run_graph(path), run_graph(tmp_path / "folded.onnx"), [{"image": image}])
    assert found and all(one.passed and one.worst > 0.999999 for one in found)
