# SPDX-License-Identifier: Apache-2.0
"""The colour student: real graphs in real ONNX Runtime whose results one can predict."""

from pathlib import Path

import pytest

import esam3_core
from esam3_core.runtime import Student
from tests.colour_bundle import write_colour_bundle
from tests.colour_memory import write_memory_bundle


@pytest.fixture(scope="session")
def colour_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colour_bundle(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture(scope="session")
def loaded(colour_bundle: Path) -> Student:
    return esam3_core.load(colour_bundle)


@pytest.fixture
def student(loaded: Student) -> Student:
    """The colour student with its own thresholds, whatever the test before set."""
    loaded.detector = loaded.bundle.detector
    return loaded


@pytest.fixture(scope="session")
def memory_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The colour bundle with memory and exemplars."""
    return write_memory_bundle(tmp_path_factory.mktemp("bundles") / "memory")


@pytest.fixture(scope="session")
def loaded_memory(memory_bundle: Path) -> Student:
    return esam3_core.load(memory_bundle)


@pytest.fixture
def remembering(loaded_memory: Student) -> Student:
    """The colour student whose tracks remember, with its own thresholds."""
    loaded_memory.detector = loaded_memory.bundle.detector
    return loaded_memory


@pytest.fixture
def looks(remembering: Student, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Grows with every run of the detector, by what is looked for."""
    runs: list[tuple[str, ...]] = []
    detect = remembering.detect
    monkeypatch.setattr(remembering, "detect", lambda *given: (runs.append(given[1].concepts), detect(*given))[1])
    return runs
