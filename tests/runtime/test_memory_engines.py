# SPDX-License-Identifier: Apache-2.0
"""How many tracks an engine of memory meets in one run, and which engine looks for whom."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from esam3_core.config import STRIDES, RuntimeConfig
from esam3_core.deploy.export import export_graph, prepare
from esam3_core.deploy.graphs import example_inputs, graphs_of
from esam3_core.nn.student import Student
from esam3_core.runtime.detector import FEATURES
from esam3_core.runtime.engines import OnnxEngine
from esam3_core.runtime.memory import MemoryBank, MemoryShape
from esam3_core.runtime.memory_engines import MemoryEngines
from esam3_core.runtime.near import runs_out, whole_frame, window_corner
from esam3_core.runtime.stages import Stages
from tests.colour_bundle import draw_blobs
from tests.nn.test_memory import SMALL


class Elsewhere:
    """An engine that is not on this CPU, as far as its user can tell."""

    def __init__(self, engine: OnnxEngine) -> None:
        self.inputs, self.outputs, self.run = engine.inputs, engine.outputs, engine.run


@pytest.fixture
def rows(monkeypatch):
    """Graphs that ran with a batch of tracks, and the size of it."""
    met = []
    run = OnnxEngine.run

    def watched(engine, feeds, keep=()):
        for graph, batched in (("memorizer", "masks"), ("propagator", "memory")):
            if batched in feeds:
                met.append((graph, len(feeds[batched])))
        return run(engine, feeds, keep)

    monkeypatch.setattr(OnnxEngine, "run", watched)
    return met


@pytest.mark.parametrize(
    ("on_cpu", "tracks", "sizes"),
    [(True, 5, [5]), (True, 16, [16]), (True, 19, [16, 3]), (False, 5, [8]), (False, 19, [16, 4])],
)
def test_only_a_gpu_is_given_padding(remembering, rows, on_cpu, tracks, sizes):
    own = remembering.memory
    propagator, memorizer = own._propagator, own._memorizer
    if not on_cpu:
        propagator, memorizer = Elsewhere(propagator), Elsewhere(memorizer)
    engines = MemoryEngines(propagator, memorizer, own.points, own.side, remembering.stages)
    student = remembering.bundle.student
    bank = MemoryBank(MemoryShape.of(student.memory, student.size, student.width, STRIDES[student.neck]), tracks)
    features = remembering.encode_image(draw_blobs([("red", 150, 150, 50)]))
    seen = engines.propagate(features, bank, [bank.open() for _ in range(tracks)])
    latents = engines.memorise(features, seen.logits, np.ones(tracks, np.float32), [False] * tracks)
    assert len(seen.logits) == len(latents) == tracks
    assert [size for graph, size in rows if graph == "propagator"] == sizes
    assert [size for graph, size in rows if graph == "memorizer"] == sizes


@pytest.fixture(scope="module")
def near_engines(tiny_config, tmp_path_factory):
    """Memory engines of an untrained student that may look into windows, and to which half of all things are hidden."""
    torch.manual_seed(1)
    memory = dataclasses.replace(SMALL, near=True)
    student = prepare(Student(dataclasses.replace(tiny_config, size=192, memory=memory)))
    sure = graphs_of(student.config)["propagator_near"].build(student)
    with torch.no_grad():
        seen = sure(**example_inputs("propagator_near", student.config, 9))[2]
        student.memory.heads.masks.objectness.layers[-1].bias -= seen.median()
    engines = {}
    for graph in ("propagator", "propagator_near", "memorizer"):
        path = tmp_path_factory.mktemp("near") / f"{graph}.onnx"
        export_graph(student, graph, graphs_of(student.config)[graph], path)
        engines[graph] = OnnxEngine(path, RuntimeConfig(backend="onnxruntime", device="cpu"))
    return student.config, engines


def remembered(config, tracks):
    """A bank in which tracks remember something, and features of a frame."""
    rng = np.random.default_rng(0)
    bank = MemoryBank(MemoryShape.of(config.memory, config.size, config.width, STRIDES[config.neck]), tracks)
    keys = [bank.open() for _ in range(tracks)]
    for key in keys:
        bank.write(key, rng.normal(size=(bank.shape.tokens, bank.shape.width)).astype(np.float32))
    inputs = example_inputs("propagator", config, 1)
    return bank, keys, {name: inputs[name].numpy() for name in FEATURES}


def test_a_track_is_looked_for_near_where_it_was_and_everywhere_if_it_is_not_there(near_engines):
    config, engines = near_engines
    bank, keys, features = remembered(config, 9)
    both = MemoryEngines(
        engines["propagator"], engines["memorizer"], 4, 4 * config.grid, Stages(), near=engines["propagator_near"]
    )
    alone = MemoryEngines(engines["propagator"], engines["memorizer"], 4, 4 * config.grid, Stages())
    whole = alone.propagate(features, bank, keys)
    middle, large = (0.4, 0.4, 0.5, 0.5), (0.1, 0.1, 0.9, 0.9)
    expected = {key: large if key == keys[0] else middle for key in keys[:-1]}
    seen = both.propagate(features, bank, keys, expected=expected)

    corner = np.array([window_corner(middle, config.grid)] * len(keys))
    near = engines["propagator_near"].run({**features, **bank.read(keys, len(keys)), "corner": corner})
    there = (near["objectness"] > 0) & ~runs_out(near["masks"], corner, config.grid)
    there[[0, -1]] = False  # one does not fit, the other was not expected anywhere
    assert there.any()
    assert not there[1:-1].all()
    drawn = whole_frame(near["masks"], corner, config.grid)
    for row in range(len(keys)):
        np.testing.assert_allclose(seen.logits[row], (drawn if there[row] else whole.logits)[row], atol=1e-4)
        objectness = (near["objectness"] if there[row] else whole.objectness)[row]
        np.testing.assert_allclose(seen.objectness[row], objectness, atol=1e-4)
