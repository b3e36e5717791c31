# SPDX-License-Identifier: Apache-2.0
"""int8 by explicit quantise and dequantise nodes, the only kind that TensorRT 10 and 11 share.

Ranges are measured on real runs. Symmetric, weights per channel: what TensorRT demands. Quantised are convolutions and
products with weights; products of two activations (attention), the last product of each head and the memorizer stay.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto
from onnx.shape_inference import infer_shapes

from esam3_core.deploy.precision import HEADS, WHOLE, head_products
from esam3_core.deploy.watched import Feeds

QUANTISED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
OPSET = 19  # the first in which scales may be float16; TensorRT 10.3 reads up to 20


def quantise(model: ModelProto, graph: str, feeds: Sequence[Feeds], kept: Collection[str] = ()) -> ModelProto:
    """A graph with quantise and dequantise nodes around what is fast in int8.

    Args:
        model: as `graph_file.read_graph` gives it; it is not changed.
        graph: its name in the bundle.
        feeds: runs on which ranges are measured.
        kept: names (first output) of nodes that are not quantised.

    Raises:
        ValueError: there is no run to measure on.
    """
    if graph in WHOLE:
        return model
    if not feeds:
        raise ValueError(f"int8 needs runs of {graph} to measure ranges on: give a --source in which it runs")
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    left = head_products(model, HEADS) | set(kept)
    chosen = [node for node in _products(model) if node.output[0] not in left]
    with tempfile.TemporaryDirectory() as scratch:
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
            extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
        )
        made = onnx.load(str(target))
    for entry in made.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = max(entry.version, OPSET)
    del made.graph.value_info[:]
    return infer_shapes(made, strict_mode=True)


def _products(model: ModelProto) -> list[NodeProto]:
    """Nodes that multiply with a weight."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return [node for node in model.graph.node if node.op_type in QUANTISED and node.input[1] in weights]


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
