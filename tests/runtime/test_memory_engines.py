# SPDX-License-Identifier: Apache-2.0
"""How many tracks an engine of memory meets in one run: no more than there are on a CPU, a bucket on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.config import STRIDES
from esam3_core.runtime.engines import OnnxEngine
from esam3_core.runtime.memory import MemoryBank, MemoryShape
from esam3_core.runtime.memory_engines import MemoryEngines
from tests.colour_bundle import draw_blobs


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
