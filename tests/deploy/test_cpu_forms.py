# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime finds its fast kernels in a graph, TensorRT what it was traced as, and both say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.optimise import optimise

WIDTH, TOKENS = 8, 5
WEIGHT = np.random.default_rng(0).normal(size=(WIDTH, WIDTH)).astype(np.float32)
BIAS = np.arange(WIDTH, dtype=np.float32)


def traced(tracks: int | str, half: float = 0.5) -> ModelProto:
    """GELU and two linear layers behind it, in the nodes that the exporter writes; x is [tracks, TOKENS, WIDTH]."""
    make = helper.make_node
    nodes = [
        make("Div", ["x", "root"], ["scaled"]),
        make("Erf", ["scaled"], ["erf"]),
        make("Add", ["erf", "one"], ["raised"]),
        make("Mul", ["half", "raised"], ["share"]),
        make("Mul", ["x", "share"], ["gelu"]),
        *(node for name in "yz" for node in (
            make("MatMul", ["gelu", "weight"], [f"{name}_product"]), make("Add", [f"{name}_product", "bias"], [name]),
        )),
    ]  # fmt: skip
    values = {"root": np.float32(2**0.5), "one": np.float32(1), "half": np.float32(half), "weight": WEIGHT}
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [tracks, TOKENS, WIDTH]) for name in "xyz"]
    other = numpy_helper.from_array(BIAS, "bias")
    graph = helper.make_graph(nodes, "traced", ports[:1], ports[1:], [*weights, other])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def optimised(model: ModelProto, path: Path) -> Path:
    onnx.save(ir.to_proto(optimise(ir.from_proto(model))), str(path))
    return path


def kinds(nodes: Sequence[onnx.NodeProto]) -> Counter[str]:
    return Counter(node.op_type for node in nodes)


def kernels(path: Path) -> Counter[str]:
    """What ONNX Runtime makes of a graph."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimised"))
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return kinds(onnx.load(options.optimized_model_filepath).graph.node)


def run(model: ModelProto) -> list[np.ndarray]:
    x = np.random.default_rng(1).normal(size=(3, TOKENS, WIDTH)).astype(np.float32)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})


def test_onnx_runtime_joins_what_it_has_kernels_for(tmp_path: Path) -> None:
    found = kernels(optimised(traced("tracks"), tmp_path / "graph.onnx"))
    assert found["Gelu"] == 1 and found["Gemm"] >= 1
    assert not {"Erf", "MatMul", "Add"} & set(found)


def test_other_engines_get_products_and_sums_as_they_were(tmp_path: Path) -> None:
    path = optimised(traced("tracks"), tmp_path / "graph.onnx")
    plain = read_graph(path)
    assert kinds(plain.graph.node) == kinds(read_graph(optimised(traced(3), tmp_path / "fixed.onnx")).graph.node)
    assert not {"Gemm", "Reshape"} & set(kinds(plain.graph.node))
    for other in (onnx.load(path), plain):
        for ours, theirs in zip(run(other), run(traced("tracks")), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_sizes_that_are_fixed_are_left_to_onnx_runtime(tmp_path: Path) -> None:
    path = optimised(traced(3), tmp_path / "graph.onnx")
    assert "Gemm" not in kinds(onnx.load(path).graph.node)
    assert kernels(path)["Gemm"] >= 1


@pytest.mark.parametrize("half", [0.25, 1.0])
def test_what_only_looks_like_a_gelu_stays(half: float, tmp_path: Path) -> None:
    path = optimised(traced("tracks", half), tmp_path / "graph.onnx")
    assert kernels(path)["Erf"] == 1
    for ours, theirs in zip(run(onnx.load(path)), run(traced("tracks", half)), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
