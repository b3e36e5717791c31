# SPDX-License-Identifier: Apache-2.0
"""Precision is written into graphs; what breaks in half precision stays single; rounding is what half would do."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from esam3_core.deploy.graph_file import element_types, read_graph
from esam3_core.deploy.precision import HEADS, PRODUCTS, choose_narrow, emulate, type_graph
from esam3_core.runtime.bundle import SHIPPED

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def small_graph(*nodes: onnx.NodeProto, output: str = "y", **weights: float) -> ModelProto:
    """x [4] -> `output` [4], with scalar weights."""
    ports = [helper.make_tensor_value_info(name, FLOAT, [4]) for name in ("x", output)]
    stored = [numpy_helper.from_array(np.float32(value), name) for name, value in weights.items()]
    graph = helper.make_graph(list(nodes), "g", ports[:1], ports[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def run_feeds(model: ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Its first output."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def run(model: ModelProto, x: list[float]) -> np.ndarray:
    return run_feeds(model, {"x": np.array(x, np.float32)})


def types_at(model: ModelProto, kinds: frozenset[str] | set[str]) -> set[int]:
    """Element types that nodes of some kinds compute in."""
    types = element_types(onnx.shape_inference.infer_shapes(model, strict_mode=True))
    return {types[node.output[0]] for node in model.graph.node if node.op_type in kinds}


@pytest.mark.parametrize("graph", ["image_encoder", "text_encoder", "detector"])
def test_a_typed_graph_is_valid_and_its_ports_stay_as_they_were(graph: str) -> None:
    model = read_graph(SHIPPED / "tabletop" / f"{graph}.onnx")
    typed = type_graph(model, graph, "fp16")
    onnx.checker.check_model(typed.model, full_check=True)
    for side in ("input", "output"):
        before, after = getattr(model.graph, side), getattr(typed.model.graph, side)
        assert [port.SerializeToString() for port in before] == [port.SerializeToString() for port in after]


def test_products_are_half_and_norms_and_softmax_single() -> None:
    typed = type_graph(read_graph(SHIPPED / "tabletop" / "detector.onnx"), "detector", "fp16").model
    assert HALF in types_at(typed, PRODUCTS)
    assert types_at(typed, {"LayerNormalization", "Softmax", "InstanceNormalization", "Log", "Sin"}) == {FLOAT}


def test_the_last_product_of_every_head_stays_single() -> None:
    model = read_graph(SHIPPED / "tabletop" / "detector.onnx")
    narrow = choose_narrow(model)
    maker = {name: node for node in model.graph.node for name in node.output}
    for head in HEADS & {port.name for port in model.graph.output}:
        name = head
        while maker[name].op_type not in PRODUCTS:
            assert name not in narrow, head
            name = next(source for source in maker[name].input if source in maker)
        assert name not in narrow, head


def test_the_memorizer_and_fp32_stay_as_they_are() -> None:
    model = small_graph(helper.make_node("Mul", ["x", "w"], ["y"]), w=3.0)
    for graph, precision in (("memorizer", "fp16"), ("propagator", "fp32")):
        assert type_graph(model, graph, precision).model == model
        assert emulate(model, graph, precision) == model


def test_kept_nodes_stay_single() -> None:
    model = small_graph(
        helper.make_node("Mul", ["x", "w"], ["a"]), helper.make_node("Add", ["a", "w"], ["y"]), w=3.0
    )
    assert choose_narrow(model) == {"a", "y"}
    assert choose_narrow(model, ["a"]) == {"y"}


@pytest.mark.parametrize(("precision", "digits"), [("fp16", 11), ("bf16", 8)])
def test_emulation_rounds_to_the_digits_of_the_type(precision: str, digits: int) -> None:
    model = small_graph(helper.make_node("Relu", ["x"], ["y"]))
    x = [1.2345678, 0.7654321, 33.333, 1e-3]
    rounded = run(emulate(model, "g", precision), x)
    exponents = np.floor(np.log2(x))
    steps = rounded / 2.0 ** (exponents - digits + 1)
    np.testing.assert_array_equal(steps, np.round(steps))
    np.testing.assert_allclose(rounded, x, rtol=2.0**-digits)


def test_emulation_rounds_between_nodes_where_onnx_runtime_does_not() -> None:
    """2048 + 1 is 2048 in half precision; ONNX Runtime on a CPU adds up in single and would never show it."""
    model = small_graph(
        helper.make_node("Add", ["x", "big"], ["a"]), helper.make_node("Sub", ["a", "big"], ["y"]), big=2048.0
    )
    assert (run(model, [1, 1, 1, 1]) == 1).all()
    assert (run(emulate(model, "g", "fp16"), [1, 1, 1, 1]) == 0).all()


def test_numbers_that_half_precision_does_not_know_keep_their_node_single() -> None:
    """x / max(x, 1e-12) must not become 0 / 0."""
    model = small_graph(
        helper.make_node("Max", ["x", "least"], ["a"]), helper.make_node("Div", ["x", "a"], ["y"]), least=1e-12
    )
    assert choose_narrow(model) == frozenset()


def test_arithmetic_before_a_logarithm_stays_single() -> None:
    """log(p / (1 - p)) near p = 1 loses everything in half precision."""
    model = small_graph(
        helper.make_node("Relu", ["x"], ["p"]),
        helper.make_node("Sub", ["one", "p"], ["q"]),
        helper.make_node("Div", ["p", "q"], ["r"]),
        helper.make_node("Log", ["r"], ["y"]),
        one=1.0,
    )
    assert choose_narrow(model) == {"p"}


def linear_attention_graph(tokens: int, channels: int = 4) -> ModelProto:
    """x [tokens, channels] -> attention that is normalised by a division, between two products."""
    kinds = (("q", "x wq", "MatMul"), ("k", "x wk", "MatMul"), ("v", "x wv", "MatMul"), ("rq", "q", "Relu"),
             ("rk", "k", "Relu"), ("kt", "rk", "Transpose"), ("v1", "v ones", "Concat"), ("kv", "kt v1", "MatMul"),
             ("both", "rq kv", "MatMul"), ("upper", "both zero last one", "Slice"),
             ("lower", "both last end one", "Slice"), ("safe", "lower eps", "Add"), ("out", "upper safe", "Div"),
             ("y", "out wo", "MatMul"))  # fmt: skip
    attributes = {"Concat": {"axis": 1}, "Transpose": {"perm": [1, 0]}}
    nodes = [helper.make_node(kind, given.split(), [name], **attributes.get(kind, {})) for name, given, kind in kinds]
    weights = {f"w{name}": np.eye(channels, dtype=np.float32) for name in "qkvo"}
    weights |= {"ones": np.ones((tokens, 1), np.float32), "eps": np.float32(1e-3)}
    whole = {"zero": [0], "last": [channels], "end": [channels + 1], "one": [1]}
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    stored += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in whole.items()]
    # Slices count from `starts`, `ends`, `axes`.
    for node in nodes:
        if node.op_type == "Slice":
            node.input[:] = [*node.input[:3], "one"]
    ports = [helper.make_tensor_value_info(name, FLOAT, [tokens, channels]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model)


def test_linear_attention_stays_single_and_what_is_around_it_does_not() -> None:
    narrow = choose_narrow(linear_attention_graph(16))
    assert not narrow & {"kv", "both", "upper", "lower", "safe", "out"}
    assert narrow >= {"k", "v", "y"}


def test_linear_attention_over_many_tokens_is_not_infinite_in_half_precision() -> None:
    model = linear_attention_graph(4096)
    x = np.random.default_rng(0).uniform(2, 6, (4096, 4)).astype(np.float32)
    expected, got = run_feeds(model, {"x": x}), run_feeds(emulate(model, "image_encoder", "fp16"), {"x": x})
    assert float((x @ (x.T @ x)).max()) > 65504  # what half precision cannot hold
    assert np.isfinite(got).all() and np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


def test_what_tensorrt_lacks_in_bfloat16_stays_single() -> None:
    model = small_graph(
        helper.make_node("HardSwish", ["x"], ["a"]), helper.make_node("Mul", ["a", "w"], ["y"]), w=3.0
    )
    assert choose_narrow(model, to=TensorProto.BFLOAT16) == {"y"}
    assert choose_narrow(model, to=HALF) == {"a", "y"}


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown precision 'fp8': choose one of fp32, fp16, bf16, int8"):
        type_graph(small_graph(helper.make_node("Relu", ["x"], ["y"])), "g", "fp8")
