# SPDX-License-Identifier: Apache-2.0
"""The graphs of memory and exemplars say what torch says, for any number of tracks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from esam3_core.config import StudentConfig
from esam3_core.deploy.export import export_graph, prepare
from esam3_core.deploy.graphs import MEMORY_GRAPHS, WINDOW_GRAPHS, example_inputs, graphs_of
from esam3_core.nn.student import Student
from tests.nn.test_memory import SMALL


@pytest.fixture(scope="module", params=["perceiver", "dense"])
def student(request: pytest.FixtureRequest, tiny_config: StudentConfig) -> Student:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    memory = dataclasses.replace(SMALL, kind=request.param, near=request.param == "perceiver")
    return prepare(Student(dataclasses.replace(tiny_config, memory=memory)))


@pytest.mark.parametrize("graph", [*MEMORY_GRAPHS, *WINDOW_GRAPHS])
def test_onnx_runtime_equals_torch(graph: str, student: Student, tmp_path: Path) -> None:
    if graph == "exemplar_encoder" and student.config.memory.kind == "dense":
        return  # it knows nothing of memory
    if graph in WINDOW_GRAPHS and student.config.memory.kind == "dense":
        assert graph not in graphs_of(student.config)
        return
    spec = graphs_of(student.config)[graph]
    path = tmp_path / f"{graph}.onnx"
    export_graph(student, graph, spec, path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for tracks in (1, 2, 5):
        inputs = example_inputs(graph, student.config, tracks)
        with torch.no_grad():
            expected = spec.build(student)(**inputs)
        found = session.run(list(spec.outputs), {name: value.numpy() for name, value in inputs.items()})
        expected = expected if isinstance(expected, tuple) else (expected,)
        for name, ours, theirs in zip(spec.outputs, found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4, rtol=1e-4, err_msg=f"{name}, {tracks}")
