# SPDX-License-Identifier: Apache-2.0
"""Precision written into a graph: every tensor carries its type, so every TensorRT from 10.3 on builds the same thing.

Single precision stays where half is known to break a student: normalisations, softmax and the sums before it,
logarithms and angles with the arithmetic around them (box refinement, position codes), sums over many elements, linear
attention, sorting, the last multiplication of every head (masks, scores, boxes), and all of the memorizer, whose errors
would come round again in every frame. What else must stay is found by `search.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from esam3_core.deploy.graph_file import cast_type, drop_unused, element_types
from esam3_core.deploy.linear_attention import linear_attention

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
SINGLE, HALF, BRAIN = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
NARROW = {"fp16": HALF, "bf16": BRAIN, "int8": HALF}
"""Precision -> type of what is not kept in single; int8 graphs compute between their quantised nodes in half."""

KEPT_KINDS = frozenset({
    "LayerNormalization", "InstanceNormalization", "GroupNormalization", "Softmax", "LogSoftmax", "ReduceSum",
    "ReduceMean", "ReduceL2", "ReduceMax", "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Sin", "Cos", "Sigmoid", "CumSum",
    "TopK", "Range", "NonZero", "GridSample", "Softplus",
})  # fmt: skip
NOT_IN_BRAIN = frozenset({"HardSwish", "ConvTranspose"})  # kinds that TensorRT refuses in bfloat16
ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div", "Clip", "Max", "Min", "Abs", "Sign", "Neg", "Where"})
MOVERS = frozenset({
    "Reshape", "Transpose", "Unsqueeze", "Squeeze", "Slice", "Gather", "GatherElements", "GatherND", "Concat", "Expand",
    "Split", "Tile", "Identity", "Flatten", "Pad", "Cast", "DepthToSpace", "MaxPool",
})  # fmt: skip
PRODUCTS = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"})
HEADS = frozenset({"boxes", "logits", "presence", "masks", "iou", "objectness", "memory", "pointer"})
"""Outputs whose last product stays single; features (p16, p8, p4, prompt) may come from half precision."""
WHOLE = frozenset({"memorizer"})
LEAST = 6.1e-5  # below it half precision loses digits
SINGLE_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Kind -> inputs that ONNX wants in single precision whatever the data is."""


@dataclass(frozen=True)
class TypedGraph:
    """A graph with its precision in it, and what was decided."""

    model: ModelProto
    narrow: frozenset[str]  # outputs (first of each node) that are computed narrow
    kept: frozenset[str] = field(default=frozenset())  # nodes that a search kept in single beside the rules


def type_graph(model: ModelProto, graph: str, precision: str, kept: Collection[str] = ()) -> TypedGraph:
    """Write a precision into a graph that computes in single.

    Args:
        model: as `graph_file.read_graph` gives it; for int8, as `quantise.quantise` gives it. It is not changed.
        graph: its name in the bundle.
        precision: one of PRECISIONS.
        kept: names (first output) of further nodes that stay single.

    Raises:
        ValueError: unknown precision.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}: choose one of {', '.join(PRECISIONS)}")
    copy = ModelProto()
    copy.CopyFrom(model)
    if precision == "fp32" or graph in WHOLE:
        return TypedGraph(copy, frozenset())
    narrow = choose_narrow(copy, kept, NARROW[precision])
    _write_types(copy, narrow, NARROW[precision])
    return TypedGraph(copy, narrow, frozenset(kept))


def emulate(model: ModelProto, graph: str, precision: str, kept: Collection[str] = ()) -> ModelProto:
    """The same graph computing in single but rounding, behind every narrow node, to what the narrow type can hold.

    This is how a typed graph is judged without a GPU. ONNX Runtime's CPU provider cannot do it: given float16 nodes
    it computes the whole chain in single and rounds only its end (seen in 1.32).
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    if precision == "fp32" or graph in WHOLE:
        return copy
    _round_values(copy, choose_narrow(copy, kept, NARROW[precision]), NARROW[precision])
    return copy


def choose_narrow(model: ModelProto, kept: Collection[str] = (), to: int = HALF) -> frozenset[str]:
    """First outputs of the nodes that the rules above let compute in a narrow type."""
    types = element_types(model)
    nodes = list(model.graph.node)
    maker = {name: node for node in nodes for name in node.output}
    kinds = KEPT_KINDS | NOT_IN_BRAIN if to == BRAIN else KEPT_KINDS
    single = {_key(node) for node in nodes if node.op_type in kinds} | set(kept)
    for node in nodes:
        if node.op_type in KEPT_KINDS and node.op_type != "LayerNormalization":
            _keep_arithmetic(node, maker, single)
    single |= head_products(model, HEADS) | linear_attention(model, MOVERS | ARITHMETIC | {"Relu"})
    _keep_tiny_constants(model, single)
    narrow: set[str] = set()
    for node in nodes:
        reals = [name for name in _data_inputs(node) if types.get(name) == SINGLE]
        if types.get(node.output[0]) != SINGLE and not (node.op_type == "QuantizeLinear" and reals):
            continue
        if _key(node) in single or (node.op_type == "Cast" and not reals):
            continue
        if node.op_type in MOVERS and not all(name in maker and _key(maker[name]) in narrow for name in reals):
            continue  # moving single-precision data narrow would only round it early
        narrow.add(_key(node))
    return frozenset(narrow)


def _keep_arithmetic(node: NodeProto, maker: dict[str, NodeProto], single: set[str]) -> None:
    """Keep the arithmetic that leads to `node`, as far as it is nothing but that."""
    waiting = [name for name in node.input if name in maker]
    while waiting:
        before = maker[waiting.pop()]
        if before.op_type in ARITHMETIC and _key(before) not in single:
            single.add(_key(before))
            waiting += [name for name in before.input if name in maker]


def head_products(model: ModelProto, heads: Collection[str]) -> set[str]:
    """First outputs of the last products of some of a graph's outputs, and of what comes after them."""
    maker = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for port in model.graph.output:
        if port.name in heads:
            _keep_head(port.name, maker, found)
    return found


def _keep_head(output: str, maker: dict[str, NodeProto], single: set[str]) -> None:
    """Keep everything from an output back to the last product, which stays single too."""
    waiting, seen = [output], set()
    while waiting:
        node = maker.get(waiting.pop())
        if node is None or _key(node) in seen:
            continue
        seen.add(_key(node))
        single.add(_key(node))
        if node.op_type not in PRODUCTS:
            waiting += list(node.input)


def _keep_tiny_constants(model: ModelProto, single: set[str]) -> None:
    """Keep what computes with a number such as 1e-12 that half precision does not know, and what divides by it."""
    tiny = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.data_type == SINGLE and _is_tiny(numpy_helper.to_array(tensor))
    }
    for node in model.graph.node:
        if node.op_type in ARITHMETIC and tiny.intersection(node.input):
            single.add(_key(node))
            tiny.add(_key(node))


def _is_tiny(values: np.ndarray) -> bool:
    return bool(values.size == 1 and 0 < abs(values.item()) < LEAST)


def _key(node: NodeProto) -> str:
    return str(node.output[0])


def _data_inputs(node: NodeProto) -> list[str]:
    skipped = SINGLE_INPUTS.get(node.op_type, ())
    return [name for index, name in enumerate(node.input) if name and index not in skipped]


def _write_types(model: ModelProto, narrow: frozenset[str], to: int) -> None:
    graph = model.graph
    types = element_types(model)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    real = {name for name, kind in types.items() if kind == SINGLE}
    outputs = {port.name for port in graph.output}
    now: dict[str, int] = dict.fromkeys(real, SINGLE)  # value -> its type in the graph as it is written
    nodes: list[NodeProto] = []
    made: dict[tuple[str, int], str] = {}

    def as_type(name: str, wanted: int) -> str:
        if name not in real or now[name] == wanted:
            return name
        if (name, wanted) not in made:
            made[name, wanted] = f"{name}_{TensorProto.DataType.Name(wanted).lower()}"
            if name in stored:
                graph.initializer.append(_convert(stored[name], made[name, wanted], wanted))
            else:
                nodes.append(_cast(name, made[name, wanted], wanted))
        return made[name, wanted]

    for node in graph.node:
        wanted = to if _key(node) in narrow else SINGLE
        wanted_of = dict.fromkeys(_data_inputs(node), wanted)
        node.input[:] = [as_type(name, wanted_of.get(name, SINGLE)) if name else "" for name in node.input]
        if node.op_type == "Cast" and cast_type(node) == SINGLE:
            _set_cast(node, wanted)
        nodes.append(node)
        for index, name in enumerate(node.output):
            if name not in real:
                continue
            now[name] = wanted
            if name in outputs and wanted != SINGLE:  # the graph's ports stay single
                node.output[index] = inner = f"{name}_inner"
                nodes.append(_cast(inner, name, SINGLE))
                now[name], made[name, wanted] = SINGLE, inner
    _finish(model, nodes)


def _round_values(model: ModelProto, narrow: frozenset[str], to: int) -> None:
    graph = model.graph
    real = {name for name, kind in element_types(model).items() if kind == SINGLE}
    stored = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {port.name for port in graph.output}
    rounded: dict[str, str] = {}  # value -> the same, rounded
    nodes: list[NodeProto] = []

    def rounding(name: str) -> str:
        if name not in rounded:
            rounded[name] = f"{name}_rounded"
            if name in stored:
                small = _convert(stored[name], f"{name}_small", to)
                graph.initializer.append(_convert(small, rounded[name], SINGLE))
            else:
                nodes.extend([_cast(name, f"{name}_small", to), _cast(f"{name}_small", rounded[name], SINGLE)])
        return rounded[name]

    for node in graph.node:
        data = set(_data_inputs(node)) & real
        if _key(node) in narrow:
            node.input[:] = [rounding(name) if name in data else name for name in node.input]
        nodes.append(node)
        if _key(node) not in narrow:
            continue
        for index, name in enumerate(node.output):
            if name in real:
                node.output[index] = f"{name}_exact"
                nodes.append(_cast(f"{name}_exact", f"{name}_small", to))
                nodes.append(_cast(f"{name}_small", name, SINGLE))
                rounded[name] = name
    assert outputs <= {name for node in nodes for name in node.output}
    _finish(model, nodes)


def _finish(model: ModelProto, nodes: Iterable[NodeProto]) -> None:
    listed = list(nodes)
    del model.graph.node[:]
    model.graph.node.extend(listed)
    del model.graph.value_info[:]
    drop_unused(model)


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to)


def _set_cast(node: NodeProto, to: int) -> None:
    del node.attribute[:]
    node.attribute.append(helper.make_attribute("to", to))


def _convert(tensor: TensorProto, name: str, to: int) -> TensorProto:
    kind = helper.tensor_dtype_to_np_dtype(to)
    values = numpy_helper.to_array(tensor).astype(np.float32)
    if to == HALF:
        values = np.clip(values, -65504, 65504)  # -1e9 marks what is masked: the least value does it as well
    return numpy_helper.from_array(np.ascontiguousarray(values.astype(kind)), name)
