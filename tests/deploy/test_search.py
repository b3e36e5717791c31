# SPDX-License-Identifier: Apache-2.0
"""A search keeps in single precision what the gate demands, and no more; its result is noted in the bundle."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from esam3_core.deploy.search import Candidate, judge_typed, search
from esam3_core.deploy.typed_graphs import RECORD, read_kept, typed_graphs, write_kept
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.errors import BundleError
from tests.deploy.test_precision import run_feeds


@pytest.fixture(scope="module")
def fragile() -> ModelProto:
    """x -> sum of harmless multiplications, one of which goes through 60000 + x and back."""
    stored = {"big": 60000.0, "half": 0.3, "two": 3.3}
    nodes = [
        helper.make_node("Add", ["x", "big"], ["lost"]),
        helper.make_node("Sub", ["lost", "big"], ["found"]),
    ]
    before = "found"
    for index in range(20):
        nodes.append(helper.make_node("Mul", [before, "half" if index % 2 else "two"], [f"m{index}"]))
        before = f"m{index}"
    nodes.append(helper.make_node("Relu", [before], ["features"]))
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [16]) for name in ("x", "features")]
    weights = [numpy_helper.from_array(np.float32(value), name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


FEEDS = [{"x": np.random.default_rng(seed).uniform(0, 3, 16).astype(np.float32)} for seed in (0, 1)]


def test_only_what_the_gate_demands_stays_single(fragile: ModelProto) -> None:
    def reference(feeds: dict) -> dict:
        return {"features": run_feeds(fragile, feeds)}

    candidate = Candidate(fragile, "g", "fp16", FEEDS)
    assert not all(one.passed for one in judge_typed(candidate, (), reference, FEEDS))
    said: list[str] = []
    found = search(candidate, reference, FEEDS, said.append)
    assert found.passed and found.worst >= 0.999
    assert {"lost", "found"} <= set(found.kept) and len(found.kept) <= 4
    assert found.narrow >= 19
    assert set(found.order) == set(candidate.nodes) and {"lost", "found"} & set(found.order[-2:])  # the worst last
    assert "looking for what must be left out" in said[0]
    assert all(one.passed for one in judge_typed(candidate, found.kept, reference, FEEDS))


def test_a_higher_bar_leaves_out_more(fragile: ModelProto) -> None:
    """What a search does when the graphs pass alone but the loop does not."""
    candidate = Candidate(fragile, "g", "fp16", FEEDS)
    found = search(candidate, lambda feeds: {"features": run_feeds(fragile, feeds)}, FEEDS, least=1 - 1e-9)
    assert found.worst >= 1 - 1e-9 and len(found.kept) > 4


def test_a_graph_that_passes_keeps_nothing(fragile: ModelProto) -> None:
    harmless = ModelProto()
    harmless.CopyFrom(fragile)
    next(tensor for tensor in harmless.graph.initializer if tensor.name == "big").CopyFrom(
        numpy_helper.from_array(np.float32(0), "big")
    )
    candidate = Candidate(harmless, "g", "fp16", FEEDS)
    assert search(candidate, lambda feeds: {"features": run_feeds(harmless, feeds)}, FEEDS).kept == ()


def test_what_a_search_found_is_used_and_belongs_to_its_graph(own_colours: Bundle) -> None:
    node = onnx.load(own_colours.graphs["image_encoder"]).graph.node[-1].output[0]
    write_kept(own_colours, "fp16", {"image_encoder": (node,)})
    write_kept(own_colours, "bf16", {})
    assert read_kept(own_colours, "fp16") == {"image_encoder": (node,)}
    assert typed_graphs(own_colours, "fp16")["image_encoder"].kept == (node,)
    path = own_colours.folder / RECORD
    record = json.loads(path.read_text())
    record["fp16"]["image_encoder"]["graph_sha256"] = "0" * 64
    path.write_text(json.dumps(record))
    assert read_kept(own_colours, "fp16") == {}


def test_a_record_that_cannot_be_read_is_refused(own_colours: Bundle) -> None:
    (own_colours.folder / RECORD).write_text('{"fp16": {"detector": 3}}')
    with pytest.raises(BundleError, match="delete it and run `esam3 verify --search` again"):
        read_kept(own_colours, "fp16")
