# SPDX-License-Identifier: Apache-2.0
"""TensorRT on machines that lack it: a clear refusal when it is demanded, ONNX Runtime and a reason when it is not."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest

from esam3_core.config import RuntimeConfig
from esam3_core.runtime import EngineError
from esam3_core.runtime.bundle import file_digest
from esam3_core.runtime.cuda import LIBRARY, Gpu, open_driver
from esam3_core.runtime.engine_folder import BuiltEngine, engines_folder, find_engine, read_listing, write_listing
from esam3_core.runtime.engines import Choice, OnnxEngine, choose_backend, load_engine, watching

ORIN = Gpu("Orin", "8.7", "12.6", 8 << 30)
VERSION = "10.3.0"


def has_driver() -> bool:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


@pytest.fixture
def bundle(colour_bundle: Path, tmp_path: Path) -> Path:
    """A bundle of our own, with engines for an Orin (their content is never read here)."""
    folder = shutil.copytree(colour_bundle, tmp_path / "colours")
    engines = engines_folder(folder, ORIN, VERSION)
    engines.mkdir(parents=True)
    built = {}
    for graph in folder.glob("*.onnx"):
        (engines / f"{graph.stem}.engine").write_bytes(b"engine")
        digest = file_digest(engines / f"{graph.stem}.engine")
        built[graph.stem] = BuiltEngine(f"{graph.stem}.engine", file_digest(graph), digest, "fp16")
    write_listing(engines, ORIN, VERSION, built)
    return folder


needs_no_tensorrt = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="this machine has TensorRT"
)


@needs_no_tensorrt
def test_demanding_tensorrt_where_it_is_missing_is_refused_with_the_remedy(bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"python3-libnvinfer, or use backend=onnxruntime or auto"):
        load_engine(bundle / "detector.onnx", RuntimeConfig(backend="tensorrt"), [], [])


@needs_no_tensorrt
def test_auto_falls_back_and_says_why(bundle: Path) -> None:
    choice = choose_backend(bundle, RuntimeConfig())
    assert choice.backend == "onnxruntime" and "cannot be imported" in choice.reason
    assert isinstance(load_engine(bundle / "detector.onnx", RuntimeConfig(), [], []), OnnxEngine)


def test_a_cpu_or_onnxruntime_that_is_asked_for_is_taken(bundle: Path) -> None:
    assert choose_backend(bundle, RuntimeConfig(backend="onnxruntime")) == Choice("onnxruntime")
    assert choose_backend(bundle, RuntimeConfig(device="cpu")) == Choice("onnxruntime", "device is cpu")


@pytest.mark.skipif(has_driver(), reason="this machine has a GPU driver")
def test_a_machine_without_a_driver_says_so() -> None:
    with pytest.raises(EngineError, match=r"no NVIDIA driver.*use device=cpu"):
        open_driver()


def test_an_engine_is_found_by_gpu_version_and_graph(bundle: Path) -> None:
    graph = bundle / "detector.onnx"
    found = find_engine(graph, file_digest(graph), ORIN, VERSION)
    assert found == bundle / "engines" / "orin-sm87-trt10.3.0" / "detector.engine"


@pytest.mark.parametrize(
    ("gpu", "version"), [(ORIN, "10.16.2"), (Gpu("Orin Nano", "8.7", "12.6", 8 << 30), VERSION)]
)
def test_an_engine_of_another_gpu_or_version_is_refused(bundle: Path, gpu: Gpu, version: str) -> None:
    graph = bundle / "detector.onnx"
    with pytest.raises(EngineError, match=r"no engine.*engines for orin-sm87-trt10\.3\.0, which cannot.*esam3 build"):
        find_engine(graph, file_digest(graph), gpu, version)


def test_an_engine_of_another_graph_is_refused(bundle: Path) -> None:
    with pytest.raises(EngineError, match=r"built from another bundle: run `esam3 build"):
        find_engine(bundle / "detector.onnx", "0" * 64, ORIN, VERSION)


def test_a_listing_that_cannot_be_read_counts_as_none(bundle: Path) -> None:
    folder = engines_folder(bundle, ORIN, VERSION)
    assert set(read_listing(folder)) == {path.stem for path in bundle.glob("*.onnx")}
    for content in ("", "[]", '{"format": 99}', '{"format": 1, "engines": {"detector": {"file": "x"}}}'):
        (folder / "engines.json").write_text(content)
        assert read_listing(folder) == {}


def test_engines_can_be_watched_while_they_load(bundle: Path) -> None:
    seen: list[str] = []

    class Doubled:
        def __init__(self, engine: object) -> None:
            self.engine = engine

    def watch(path: Path, engine: object) -> object:
        seen.append(path.stem)
        return Doubled(engine)

    config = RuntimeConfig(backend="onnxruntime")
    with watching(watch):  # type: ignore[arg-type]
        assert isinstance(load_engine(bundle / "detector.onnx", config, [], []), Doubled)
    engine = load_engine(bundle / "image_encoder.onnx", config, [], [])
    assert seen == ["detector"]
    assert "p16" in engine.run({"image": np.zeros((1, 256, 256, 3), np.uint8)})
