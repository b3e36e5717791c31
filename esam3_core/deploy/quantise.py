# SPDX-License-Identifier: Apache-2.0
"""int8 by explicit quantise and dequantise nodes, the only kind that TensorRT 10 and 11 share.

Ranges are measured on real runs. Symmetric, weights per channel: what TensorRT demands. Quantised are convolutions and
products with weights; products of two activations (attention), the last product of each head and the memorizer stay.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto
from onnx.shape_inference import infer_shapes

from esam3_core.deploy.graph_file import drop_unused
from esam3_core.deploy.precision import HEADS, WHOLE, head_products
from esam3_core.deploy.watched import Feeds

QUANTISED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
EXACT = "_QuantizeLinear_Input"  # ONNX Runtime ends the name of an output so that it rounds on its way out
PAIR = ("QuantizeLinear", "DequantizeLinear")
OPSET = 19  # the first in which scales may be float16; TensorRT 10.3 reads up to 20


def quantise(model: ModelProto, graph: str, feeds: Sequence[Feeds], kept: Collection[str] = ()) -> ModelProto:
    """A graph with quantise and dequantise nodes around what is fast in int8.

    Args:
        model: as `graph_file.read_graph` gives it; it is not changed.
        graph: its name in the bundle.
        feeds: runs on which ranges are measured.
        kept: names (first output) of nodes that are not quantised; `unquantise` gives the same without measuring
            again.

    Raises:
        ValueError: there is no run to measure on.
    """
    if graph in WHOLE:
        return model
    if not feeds:
        raise ValueError(f"int8 needs runs of {graph} to measure ranges on: give a --source in which it runs")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    chosen = quantisable(model)
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        source, target = Path(scratch) / "single.onnx", Path(scratch) / "int8.onnx"
        onnx.save(model, str(source))
        quantize_static(
            str(source),
            str(target),
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_quantize=[node.name for node in chosen],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": list(QUANTISED),
            },
        )
        made = onnx.load(str(target))
    for entry in made.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, OPSET)
    _free_outputs(made)
    return unquantise(made, model, kept)


def unquantise(made: ModelProto, model: ModelProto, kept: Collection[str]) -> ModelProto:
    """A quantised graph in which only products with a weight, but for `kept`, read rounded values.

    Args:
        made: what `quantise` made of `model`; it is not changed.
        kept: names (first output) of products that read what they read in `model`.
    """
    copy = ModelProto()
    copy.CopyFrom(made)
    graph = copy.graph
    before = {node.output[0]: node for node in model.graph.node}
    rounded = {node.output[0] for node in quantisable(model)} - set(kept)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    there = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in PAIR or node.output[0] in rounded:
            continue
        node.input[:] = before[node.output[0]].input
        missing = {name for name in node.input if name in weights} - there
        graph.initializer.extend(weights[name] for name in sorted(missing))
        there |= missing
    _drop_idle(copy)
    del graph.value_info[:]
    return infer_shapes(copy, strict_mode=True)


def quantisable(model: ModelProto) -> list[NodeProto]:
    """The nodes that int8 makes faster: products with a weight, but not the last one of a head."""
    left = head_products(model, HEADS)
    weights = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in QUANTISED and node.input[1] in weights]
    return [node for node in products if node.output[0] not in left]


def _free_outputs(model: ModelProto) -> None:
    """Give outputs of the graph that a product reads too back to their makers, in place: only the product rounds."""
    graph = model.graph
    for port in graph.output:
        exact = port.name + EXACT
        if not any(exact in node.output for node in graph.node):
            continue
        rounded = f"{port.name}_rounded"
        for node in graph.node:  # exact becomes the port, and what was the port becomes rounded
            names = {exact: port.name, port.name: rounded}
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]


def _drop_idle(model: ModelProto) -> None:
    """Remove quantise and dequantise nodes that nobody reads, in place."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in node.input} | {port.name for port in graph.output}
        idle = [node for node in graph.node if node.op_type in PAIR and node.output[0] not in read]
        if not idle:
            break
        for node in idle:
            graph.node.remove(node)
    drop_unused(model)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the advice to preprocess: bundles are simplified already."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


class _Reader:
    """Hands recorded runs to ONNX Runtime's calibration."""

    def __init__(self, feeds: Sequence[Feeds]) -> None:
        self._left: Iterator[Feeds] = iter(feeds)

    def get_next(self) -> Feeds | None:
        """The next run, or None."""
        return next(self._left, None)

    def __len__(self) -> int:
        return 1

    def set_range(self, start_index: int, end_index: int) -> None:
        """Asked for by ONNX Runtime where it calibrates in parts; the runs are few, so there is one part."""
