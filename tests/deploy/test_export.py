# SPDX-License-Identifier: Apache-2.0
"""A bundle says what the student says, is written whole or not at all, and loads in the runtime."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml

import esam3_core
from esam3_core.config import DetectorConfig, StudentConfig, from_dict
from esam3_core.deploy import export
from esam3_core.deploy.export import export_bundle, prepare, sha256
from esam3_core.deploy.graphs import GRAPHS, example_inputs
from esam3_core.deploy.half import round_to_half, store_half
from esam3_core.nn.student import Student
from esam3_core.nn.trunk import Trunk
from esam3_core.runtime.errors import Esam3Error


@pytest.mark.parametrize("concepts", [1, 2, 5])
@pytest.mark.parametrize("graph", GRAPHS)
def test_onnx_runtime_equals_torch(
    graph: str, concepts: int, tiny_student: Student, tiny_bundle: Path, tiny_config: StudentConfig
) -> None:
    if graph == "image_encoder" and concepts > 1:
        return  # it sees no concepts
    inputs = example_inputs(graph, tiny_config, concepts)
    with torch.no_grad():
        expected = GRAPHS[graph].build(prepare(tiny_student))(**inputs)
    session = onnxruntime.InferenceSession(str(tiny_bundle / f"{graph}.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(list(GRAPHS[graph].outputs), {name: value.numpy() for name, value in inputs.items()})
    expected = expected if isinstance(expected, tuple) else (expected,)
    for name, ours, theirs in zip(GRAPHS[graph].outputs, found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4, rtol=1e-4, err_msg=name)


def test_graphs_use_the_promised_opset_and_no_custom_operators(tiny_bundle: Path) -> None:
    for graph in GRAPHS:
        model = onnx.load(tiny_bundle / f"{graph}.onnx")
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == export.OPSET
        assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}


def test_layer_norms_stay_whole(tiny_bundle: Path) -> None:
    """Decomposed ones lose precision in half-precision engines."""
    kinds = [node.op_type for node in onnx.load(tiny_bundle / "detector.onnx").graph.node]
    assert "LayerNormalization" in kinds
    assert "ReduceMean" not in kinds or "Sqrt" not in kinds


def test_the_card_describes_the_bundle(tiny_bundle: Path, tiny_config: StudentConfig) -> None:
    card = yaml.safe_load((tiny_bundle / "student.yaml").read_text())
    assert from_dict(StudentConfig, card["student"]) == tiny_config
    assert from_dict(DetectorConfig, card["detector"]) == DetectorConfig()
    assert card["concepts"] == ["cup", "mug"]
    for entry in (*card["graphs"].values(), card["tokenizer"]):
        assert sha256(tiny_bundle / entry["file"]) == entry["sha256"]


def test_the_runtime_runs_the_bundle(tiny_bundle: Path) -> None:
    student = esam3_core.load(tiny_bundle)
    student.detector = dataclasses.replace(student.detector, score_threshold=0.0, min_area=0)
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    for concepts in (["cup"], ["cup", "mug", "red bowl", "spoon", "qwzx"]):
        found = student.segment(image, concepts)
        assert {one.concept for one in found} <= set(concepts)
        assert all(one.mask.shape == (48, 80) for one in found)


def test_the_runtime_scores_as_torch_does(tiny_student: Student, tiny_bundle: Path, tiny_text: Path) -> None:
    """From picture and phrase to scores: preprocessing, tokenizer and engines together."""
    from tokenizers import Tokenizer

    from esam3_core.nn.text import pad_mask

    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    student = esam3_core.load(tiny_bundle)
    student.detector = DetectorConfig(score_threshold=0.0, min_area=0, duplicate_iou=1.0)
    found = [one.score for one in student.segment(image, ["red mug"])]
    ids = Tokenizer.from_file(str(tiny_text / "tokenizer.json")).encode("red mug").ids
    tokens = torch.tensor([ids])
    prepared = prepare(tiny_student)
    with torch.no_grad():
        features = prepared.image_encoder(torch.from_numpy(image)[None])
        out = prepared.detect(features, prepared.text_encoder(tokens), pad_mask(tokens)).decoded
    scores = out.logits[-1][0].sigmoid() * out.presence[-1][0].sigmoid()
    best = scores.sort(descending=True).values[: len(found)]
    assert found
    assert all(min(abs(score - float(one)) for one in best) < 1e-4 for score in found)


def test_exporting_leaves_the_student_as_it_was(tiny_student: Student) -> None:
    before = copy.deepcopy(tiny_student.state_dict())
    prepare(tiny_student)
    assert all(torch.equal(value, before[name]) for name, value in tiny_student.state_dict().items())


def test_repvit_folds_into_single_convolutions() -> None:
    torch.manual_seed(0)
    student = torch.nn.Module()
    student.image_encoder = torch.nn.Module()
    student.text_encoder, student.detector = torch.nn.Module(), torch.nn.Module()
    student.image_encoder.trunk = Trunk("rv_s")
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
    folded = prepare(student, half=False)  # type: ignore[arg-type]
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        expected = student.eval().image_encoder.trunk(pixels)
        found = folded.image_encoder.trunk(pixels)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)
    norms = [m for m in folded.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 0


def test_half_precision_storage_changes_no_value(tmp_path: Path) -> None:
    layer = torch.nn.Linear(64, 64)
    round_to_half(layer)
    weight = layer.weight.detach().numpy()
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 64])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path / "g.onnx"
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    x = {"x": np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32)}
    size = path.stat().st_size
    before = onnxruntime.InferenceSession(str(path)).run(None, x)[0]
    store_half(path)
    assert path.stat().st_size < 0.6 * size
    np.testing.assert_array_equal(onnxruntime.InferenceSession(str(path)).run(None, x)[0], before)


def test_a_failed_export_leaves_the_old_bundle(
    tiny_student: Student, tiny_bundle: Path, tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, folder)

    def fail(*_: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(export, "export_graph", fail)
    with pytest.raises(RuntimeError, match="disk is full"):
        export_bundle(tiny_student, tiny_text / "tokenizer.json", folder, "tiny", ["cup"])
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    assert esam3_core.load(folder).concepts == ["cup", "mug"]


def test_a_new_bundle_takes_the_place_of_the_old_one(
    tiny_student: Student, tiny_bundle: Path, tiny_text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_bundle, folder)
    (folder / "leftover.txt").write_text("old")
    # Tracing takes most of a minute; the graphs themselves are not what is tested here.
    monkeypatch.setattr(export, "export_graph", lambda s, graph, spec, path: shutil.copy(tiny_bundle / path.name, path))
    export_bundle(tiny_student, tiny_text / "tokenizer.json", folder, "tiny", ["bowl"])
    assert not (folder / "leftover.txt").exists()
    assert esam3_core.load(folder).concepts == ["bowl"]


def test_without_a_tokenizer_nothing_is_written(tiny_student: Student, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train one or name another"):
        export_bundle(tiny_student, tmp_path / "none.json", tmp_path / "bundle", "tiny", [])
    assert not list(tmp_path.iterdir())


def _photos(place: Path) -> None:
    place.mkdir()
    (place / "holiday.jpg").write_text("dear")


def _file(place: Path) -> None:
    place.write_text("dear")


def _link(place: Path) -> None:
    target = place.with_name("elsewhere")
    target.mkdir()
    (target / "student.yaml").write_text("dear")
    place.symlink_to(target)


@pytest.mark.parametrize("occupy", [_photos, _file, _link])
def test_what_is_no_bundle_is_never_replaced(
    occupy: Callable[[Path], None], tiny_student: Student, tiny_text: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(export, "prepare", lambda *_: pytest.fail("it worked for minutes before it refused"))
    occupy(tmp_path / "there")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Esam3Error, match="holds something that is no bundle: name a new folder"):
        export_bundle(tiny_student, tiny_text / "tokenizer.json", tmp_path / "there", "tiny", [])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_a_bundle_needs_a_folder_with_a_name(place: str) -> None:
    with pytest.raises(Esam3Error, match="name a new folder"):
        export.check_place(Path(place))


def test_new_and_empty_folders_and_old_bundles_may_be_written_to(tiny_bundle: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "new" / "deeper", tiny_bundle):
        export.check_place(place)


def test_the_old_bundle_comes_back_if_the_new_one_cannot_be_put_in_place(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "student.yaml").write_text("old")
    with pytest.raises(FileNotFoundError):
        export._put_in_place(tmp_path / "vanished", folder, tmp_path / "old")
    assert (folder / "student.yaml").read_text() == "old"
