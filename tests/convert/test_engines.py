# SPDX-License-Identifier: Apache-2.0
"""An official student goes the whole way to TensorRT: typed graphs that build, and that say the same after rounding."""

from __future__ import annotations

from pathlib import Path

import pytest

from esam3_core.deploy.build import check_bundle
from esam3_core.deploy.gates import Clip, record, run_graph
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.graphs import example_inputs
from esam3_core.deploy.search import Candidate, judge_typed
from esam3_core.runtime.bundle import Bundle


def test_every_graph_builds_with_tensorrt(bundle: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is for Linux on x86-64: pip install '.[check]'")
    rows = check_bundle(Bundle.load(bundle), "fp16", lambda _: None)
    assert {row.graph for row in rows} == set(Bundle.load(bundle).graphs)
    assert [row.problem for row in rows] == [""] * len(rows)


def test_every_graph_says_the_same_in_half_precision(bundle: Path) -> None:
    official = Bundle.load(bundle)
    feeds = record(official, Clip(frames=4, runs=2))
    assert set(feeds) >= {"image_encoder", "text_encoder", "detector", "exemplar_encoder"}
    for graph in official.graphs:
        # Random weights track nothing, so the graphs of the tracker run on random inputs.
        example = {name: value.numpy() for name, value in example_inputs(graph, official.student).items()}
        runs = feeds.get(graph) or [example]
        candidate = Candidate(read_graph(official.graphs[graph]), graph, "fp16", runs)
        found = judge_typed(candidate, (), run_graph(official.graphs[graph]), runs)
        assert not [one for one in found if not one.passed], graph
