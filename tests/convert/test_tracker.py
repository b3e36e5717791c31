# SPDX-License-Identifier: Apache-2.0
"""SAM 3's tracker at a small size: it streams, and its memory does not grow. `test_bundle` checks its graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from esam3_core.config import TrackerConfig
from esam3_core.deploy.graphs import example_inputs, graphs_of
from esam3_core.nn.layers import ROWS, attend_long
from esam3_core.nn.sam3_memory import ABSENT, Sam3Memory
from esam3_core.nn.student import Student as Module
from esam3_core.runtime import Student
from tests.convert.small import CONFIG, small_student

FRAMES = 30


@pytest.fixture(scope="module")
def module() -> Module:
    return small_student()


def test_it_streams_and_its_memory_does_not_grow(bundle: Path) -> None:
    student = Student.load(bundle)
    tracker = student.track(config=TrackerConfig(max_tracks=2))
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
    mask = np.zeros((112, 112), bool)
    mask[30:70, 40:90] = True
    shown = tracker.add(image, 0.0, mask=mask)
    bank = tracker._with_memory().bank
    sizes = {name: array.nbytes for name, array in bank._arrays().items()}
    for number in range(1, FRAMES):
        tracks = tracker.step(np.roll(image, number, axis=1), number / 10)
        assert [track.id for track in tracks] == [shown.id]
    assert {name: array.nbytes for name, array in bank._arrays().items()} == sizes
    assert sizes["latents"] == 2 * (CONFIG.memory.ring + 1) * CONFIG.grid**2 * CONFIG.memory.width * 4
    assert {"memory_neck", "propagator"} <= set(student.timings)


def test_the_second_neck_is_only_run_where_something_is_tracked(bundle: Path) -> None:
    student = Student.load(bundle)
    student.segment(np.zeros((64, 64, 3), np.uint8), ["cup"])
    assert "memory_neck" not in student.timings


def test_an_absent_object_has_no_mask_and_an_empty_mask_no_pointer(module: Module) -> None:
    memory = module.memory
    assert isinstance(memory, Sam3Memory)
    inputs = example_inputs("pointer_encoder", CONFIG, 2)
    inputs["masks"][1] = -10.0
    with torch.no_grad():
        pointers = memory.point_at(**inputs)
    assert torch.equal(pointers[1], memory.no_pointer) and not torch.allclose(pointers[0], memory.no_pointer)
    hidden = small_student()
    hidden.memory.heads.masks.objectness.layers[-1].bias.data -= 50.0  # type: ignore[union-attr]
    seen = graphs_of(CONFIG)["propagator"].build(hidden)(**example_inputs("propagator", CONFIG, 2))
    assert (seen[0] == ABSENT).all() and torch.allclose(seen[3], hidden.memory.no_pointer.expand(2, -1))  # type: ignore[union-attr]


def test_rows_of_a_traced_attention_are_attention() -> None:
    q, k, v = (torch.randn(2, 2 * ROWS + 5, 8) for _ in range(3))
    bias = torch.randn(2, 1, 2 * ROWS + 5)

    class Traced(torch.nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            return attend_long(q, k, v, bias)

    traced = torch.export.export(Traced(), (q, k, v, bias))
    assert sum(node.target is torch.ops.aten.softmax.int for node in traced.graph.nodes) == 3
    assert torch.allclose(traced.module()(q, k, v, bias), attend_long(q, k, v, bias), atol=1e-5)
