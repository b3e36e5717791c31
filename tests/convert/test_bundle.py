# SPDX-License-Identifier: Apache-2.0
"""A bundle of an official student gives, through ONNX Runtime, what the student gives in torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from esam3_core.config import RuntimeConfig
from esam3_core.convert.ground import Official
from esam3_core.deploy.graphs import example_inputs, graphs_of
from esam3_core.runtime import Exemplar, Student
from esam3_core.runtime.engines import Engine, OnnxEngine, SeldomEngine, watching
from tests.convert.small import CONFIG, small_student


@pytest.mark.parametrize("graph", graphs_of(CONFIG))
def test_every_graph_computes_what_torch_computes(bundle: Path, graph: str) -> None:
    import onnxruntime as ort

    session = ort.InferenceSession(str(bundle / f"{graph}.onnx"), providers=["CPUExecutionProvider"])
    for concepts in (1, 3):
        inputs = example_inputs(graph, CONFIG, concepts)
        with torch.no_grad():
            wanted = graphs_of(CONFIG)[graph].build(small_student())(**inputs)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        found = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        for ours, theirs in zip(found, wanted, strict=True):
            assert np.allclose(ours, theirs.numpy(), atol=2e-4, rtol=1e-4)


def test_what_is_not_needed_is_not_in_the_graphs(bundle: Path) -> None:
    import onnx

    masks = onnx.load(str(bundle / "detector.onnx")).graph.output[4].type.tensor_type.shape.dim
    assert [side.dim_value for side in masks[1:]] == [CONFIG.masks, 4 * CONFIG.grid, 4 * CONFIG.grid]


def test_the_text_encoder_is_in_memory_only_while_it_runs(bundle: Path) -> None:
    opened: dict[str, Engine] = {}
    with watching(lambda path, engine: opened.setdefault(path.stem, engine)):
        Student.load(bundle, RuntimeConfig(device="cpu"))
    assert {name for name, engine in opened.items() if isinstance(engine, SeldomEngine)} == {"text_encoder"}
    tokens = {name: value.numpy() for name, value in example_inputs("text_encoder", CONFIG).items()}
    lasting = OnnxEngine(bundle / "text_encoder.onnx", RuntimeConfig(device="cpu"))
    for _ in range(2):
        assert np.array_equal(opened["text_encoder"].run(tokens)["prompt"], lasting.run(tokens)["prompt"])


def test_segment_finds_what_ground_scores_above_the_threshold(bundle: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    answer = Official(small_student()).ground(image, "red mug")
    middle = float(answer.scores.sort(descending=True).values[2:4].mean())
    student = Student.load(bundle)
    student.detector = type(student.detector)(score_threshold=middle, min_area=0, duplicate_iou=1.0)
    found = student.segment(image, ["red mug"])
    wanted = answer.scores[answer.scores > middle].sort(descending=True).values
    assert len(found) <= len(wanted)  # a query whose mask is empty is no detection
    for one in found:
        assert min(abs(one.score - wanted)) < 2e-3


def test_concepts_of_several_detector_runs_find_what_each_finds_alone(bundle: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    student = Student.load(bundle, RuntimeConfig(device="cpu"))
    student.detector = type(student.detector)(score_threshold=0.0, min_area=0, duplicate_iou=1.0)
    names = ["mug", "red book", "plate"]  # on a CPU two, then one
    together = student.segment(image, names)
    alone = [one for name in names for one in student.segment(image, [name])]
    assert [one.concept for one in together] == [one.concept for one in alone]
    assert np.allclose([one.score for one in together], [one.score for one in alone], atol=1e-4)


def test_an_exemplar_changes_the_answer_as_it_does_in_torch(bundle: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    student = Student.load(bundle)
    student.detector = type(student.detector)(score_threshold=0.0, min_area=0, duplicate_iou=1.0)
    official = Official(small_student())
    plain = official.ground(image, "mug").scores.max()
    shown = official.ground(image, "mug", boxes=[[0.5, 0.5, 0.5, 0.25]]).scores.max()
    assert abs(float(plain - shown)) > 1e-5
    found = student.segment(image, ["mug"], [Exemplar((28, 42, 56, 28), concept="mug")])
    assert found and found[0].score <= float(shown) + 1e-4
