# SPDX-License-Identifier: Apache-2.0
"""Attention that is normalised by a division and not by a softmax: EfficientViT's ReLU linear attention (Cai et al.,
EfficientViT, 2023, section 3.1).

Its products are sums over all cells of the picture, divided only afterwards by a column of the same product. At 1008
pixels they reach millions, where half precision ends at 65 504 and gives infinity, and infinity divided by infinity.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnx import ModelProto, NodeProto

SUMS = frozenset({"MatMul", "Einsum"})


def linear_attention(model: ModelProto, passed: Collection[str]) -> set[str]:
    """First outputs of its nodes: the division, the product that it normalises, and the product before that.

    Args:
        passed: kinds of nodes that only move data or compute element by element.
    """
    maker = {name: node for node in model.graph.node for name in node.output}
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type != "Div":
            continue
        upper, lower = (_back_to_sums(name, maker, passed) for name in node.input[:2])
        both = upper.sums & lower.sums
        if not both:
            continue
        before = [_back_to_sums(name, maker, passed) for one in both for name in maker[one].input]
        found |= {node.output[0], *both, *upper.between, *lower.between}
        found |= {name for one in before if one.sums for name in (*one.sums, *one.between)}
    return found


class _Way:
    """What lies on the way back from a value: `sums`, at which it ends, and `between`."""

    def __init__(self) -> None:
        self.sums: set[str] = set()
        self.between: set[str] = set()


def _back_to_sums(name: str, maker: Mapping[str, NodeProto], passed: Collection[str]) -> _Way:
    way, waiting = _Way(), [name]
    while waiting:
        node = maker.get(waiting.pop())
        if node is None or node.output[0] in way.between:
            continue
        if node.op_type in SUMS:
            way.sums.add(node.output[0])
        elif node.op_type in passed:
            way.between.add(node.output[0])
            waiting += list(node.input)
    return way
