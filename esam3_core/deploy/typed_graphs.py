# SPDX-License-Identifier: Apache-2.0
"""The graphs of a bundle with their precision written in, and the record of which nodes had to stay single.

<bundle>/precision.json    written by `esam3 verify --search`: precision -> graph -> its nodes that stay single
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from esam3_core.deploy.gates import Clip, record
from esam3_core.deploy.graph_file import dynamic_inputs, read_graph
from esam3_core.deploy.precision import type_graph
from esam3_core.deploy.presets import DYNAMIC
from esam3_core.deploy.quantise import quantise
from esam3_core.deploy.watched import Feeds
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.errors import BundleError

RECORD = "precision.json"
Kept = dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class TypedFile:
    """One graph, ready for TensorRT."""

    content: ModelProto
    precision: str
    kept: tuple[str, ...]
    largest: int  # of the dynamic axis; 1 if there is none

    @property
    def nodes(self) -> int:
        """How many nodes it has."""
        return len(self.content.graph.node)


def typed_graphs(bundle: Bundle, precision: str, clip: Clip | None = None) -> dict[str, TypedFile]:
    """Every graph of a bundle in one precision, with what the bundle's record says must stay single.

    Args:
        clip: frames on which the ranges of int8 are measured.
    """
    kept = read_kept(bundle, precision)
    feeds = record(bundle, clip or Clip()) if precision == "int8" else {}
    typed = {}
    for graph in bundle.graphs:
        nodes = tuple(sorted(kept.get(graph, ())))
        model = prepared(bundle, graph, precision, feeds, nodes)
        sides = [side for shape in dynamic_inputs(model).values() for side in shape if isinstance(side, str)]
        largest = max([DYNAMIC[side][2] for side in sides if side in DYNAMIC], default=1)
        typed[graph] = TypedFile(
            type_graph(model, graph, precision, kept_single(precision, nodes)).model, precision, nodes, largest
        )
    return typed


def prepared(
    bundle: Bundle, graph: str, precision: str, feeds: Mapping[str, Sequence[Feeds]], kept: Sequence[str] = ()
) -> ModelProto:
    """One graph as `type_graph` and `emulate` want it: for int8 quantised but for `kept`, where the frames run it."""
    model = read_graph(bundle.graphs[graph])
    return quantise(model, graph, feeds[graph], kept) if precision == "int8" and feeds.get(graph) else model


def kept_single(precision: str, kept: Sequence[str]) -> Sequence[str]:
    """Nodes that stay single; in int8, those that a search keeps are not quantised, which half precision is enough
    for."""
    return () if precision == "int8" else kept


def read_kept(bundle: Bundle, precision: str) -> Kept:
    """Nodes that a search left in single precision.

    Raises:
        BundleError: the record cannot be read.
    """
    path = bundle.folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = record.get(precision, {})
        return {
            graph: tuple(entry["kept"])
            for graph, entry in found.items()
            if entry["graph_sha256"] == bundle.digests.get(graph)
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        remedy = "delete it and run `esam3 verify --search` again"
        raise BundleError(f"{path} cannot be read ({error}): {remedy}") from error


def write_kept(bundle: Bundle, precision: str, kept: Kept) -> Path:
    """Note, beside what is known of other precisions, the nodes that stay single; returns the file."""
    path = bundle.folder / RECORD
    record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    record[precision] = {
        graph: {"graph_sha256": bundle.digests[graph], "kept": sorted(nodes)} for graph, nodes in kept.items()
    }
    draft = Path(f"{path}.draft")
    draft.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return path
