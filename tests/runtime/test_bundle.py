# SPDX-License-Identifier: Apache-2.0
"""Bundles: found by name or path; every way to break one gives a sentence with a remedy."""

import shutil

import pytest
import yaml

import esam3_core
from esam3_core.config import DetectorConfig, TrackerConfig
from esam3_core.runtime import Bundle, BundleError, EngineError, known_bundles
from esam3_core.runtime.bundle import file_digest
from tests.colour_bundle import COLOURS, write_colour_bundle


@pytest.fixture
def bundle(colour_bundle, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(colour_bundle, tmp_path / "colours")


def change(bundle, **values):
    card = bundle / "student.yaml"
    card.write_text(yaml.safe_dump({**yaml.safe_load(card.read_text()), **values}))


def test_a_bundle_tells_what_it_holds(colour_bundle):
    bundle = Bundle.load(colour_bundle)
    assert bundle.name == "colours"
    assert bundle.concepts == tuple(COLOURS)
    assert bundle.student.size == 256
    assert bundle.detector == DetectorConfig() and bundle.tracker == TrackerConfig()
    assert bundle.licence == "Apache-2.0" and bundle.provenance


def test_settings_of_the_bundle_override_the_defaults(tmp_path):
    folder = write_colour_bundle(tmp_path / "own", detector={"min_area": 7}, tracker={"max_age": 3.5})
    student = esam3_core.load(folder)
    assert student.detector == DetectorConfig(min_area=7)
    assert student.track(["red"]).config == TrackerConfig(max_age=3.5)


def test_a_bundle_is_found_by_name(bundle, monkeypatch):
    monkeypatch.setenv("ESAM3_BUNDLES", f"/nowhere:{bundle.parent}")
    assert "colours" in known_bundles()
    assert Bundle.load("colours").folder == bundle


def test_a_relative_path_is_found(bundle, monkeypatch):
    monkeypatch.chdir(bundle.parent)
    assert Bundle.load("./colours").name == Bundle.load("colours").name == "colours"


def test_an_unknown_name_lists_the_known_ones(bundle, monkeypatch):
    monkeypatch.setenv("ESAM3_BUNDLES", str(bundle.parent))
    with pytest.raises(BundleError, match=r"no bundle 'kitchen'.*colours"):
        esam3_core.load("kitchen")


@pytest.mark.parametrize("name", ["", " ", "."])
def test_an_empty_name_is_refused(name):
    with pytest.raises(BundleError, match="needs a name or a path"):
        Bundle.load(name)


def test_a_folder_without_a_card_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match=r"has no student\.yaml"):
        Bundle.load(tmp_path)


@pytest.mark.parametrize("file", ["image_encoder.onnx", "text_encoder.onnx", "detector.onnx", "tokenizer.json"])
def test_a_missing_file_is_named(bundle, file):
    (bundle / file).unlink()
    with pytest.raises(BundleError, match=rf"{file} is missing: copy the bundle again"):
        Bundle.load(bundle)


@pytest.mark.parametrize("graph", ["image_encoder", "text_encoder", "detector"])
def test_a_truncated_graph_is_named(bundle, graph):
    path = bundle / f"{graph}.onnx"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match=rf"{graph}\.onnx \(\d+ bytes\) does not match its checksum.*cut short"):
        Bundle.load(bundle)


@pytest.mark.parametrize(("version", "remedy"), [(2, "upgrade esam3"), (0, "esam3 export"), ("x", "esam3 export")])
def test_another_version_is_refused(bundle, version, remedy):
    change(bundle, format=version)
    with pytest.raises(BundleError, match=rf"format {version!r}, this esam3 reads 1: .*{remedy}"):
        Bundle.load(bundle)


@pytest.mark.parametrize("text", ["format: [1", "\x00", "just text", "- 1\n- 2", "name: x", ""])
def test_a_broken_card_is_refused(bundle, text):
    (bundle / "student.yaml").write_text(text)
    with pytest.raises(BundleError, match=r"student\.yaml .*copy the bundle again"):
        Bundle.load(bundle)


@pytest.mark.parametrize(
    ("section", "value", "reason"),
    [
        ("detector", {"min_aera": 3}, "has no min_aera"),
        ("detector", {"score_threshold": 1.5}, "must lie in 0..1"),
        ("detector", [1], "names and values"),
        ("tracker", {"min_hits": 0}, "must lie in 1..1000"),
        ("student", {"size": 100}, "multiple of 32"),
        ("student", {"variant": "xx"}, "choose one of"),
        ("student", {"size": "big"}, "size|format"),
    ],
)
def test_settings_that_make_no_sense_are_named(bundle, section, value, reason):
    change(bundle, **{section: value})
    with pytest.raises(BundleError, match=rf"`{section}` cannot be used.*({reason})"):
        Bundle.load(bundle)


@pytest.mark.parametrize("graphs", [None, [], {"detector": "detector.onnx"}])
def test_a_card_without_graphs_is_refused(bundle, graphs):
    change(bundle, graphs=graphs)
    with pytest.raises(BundleError, match="names no file and sha256 for image_encoder"):
        Bundle.load(bundle)


def test_a_graph_in_the_place_of_another_is_refused(bundle):
    card = yaml.safe_load((bundle / "student.yaml").read_text())
    card["graphs"]["detector"] = card["graphs"]["text_encoder"]
    change(bundle, graphs=card["graphs"])
    with pytest.raises(EngineError, match="lacks the inputs p16, p8, p4, prompt"):
        esam3_core.load(bundle)


def test_a_file_that_is_no_graph_is_refused(bundle):
    path = bundle / "detector.onnx"
    path.write_bytes(b"no graph")
    card = yaml.safe_load((bundle / "student.yaml").read_text())
    card["graphs"]["detector"]["sha256"] = file_digest(path)
    change(bundle, graphs=card["graphs"])
    with pytest.raises(EngineError, match=r"ONNX Runtime .* cannot load .*detector\.onnx"):
        esam3_core.load(bundle)
