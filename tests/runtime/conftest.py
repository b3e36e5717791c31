# SPDX-License-Identifier: Apache-2.0
"""The colour student: real graphs in real ONNX Runtime whose results one can predict."""

from pathlib import Path

import pytest

import esam3_core
from esam3_core.runtime import Student
from tests.colour_bundle import write_colour_bundle


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
