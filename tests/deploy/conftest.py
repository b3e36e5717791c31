# SPDX-License-Identifier: Apache-2.0
"""The colour student with memory, all six graphs of it, and a clip: real graphs in real ONNX Runtime, no training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from esam3_core.deploy.gates import Clip
from esam3_core.runtime.bundle import Bundle
from tests.colour_memory import write_memory_bundle
from tests.deploy.drawn import write_clip


@pytest.fixture(scope="session")
def colours_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_memory_bundle(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture(scope="session")
def colours(colours_folder: Path) -> Bundle:
    """Only to be read."""
    return Bundle.load(colours_folder)


@pytest.fixture
def own_colours(colours_folder: Path, tmp_path: Path) -> Bundle:
    """A copy that a test may change."""
    return Bundle.load(shutil.copytree(colours_folder, tmp_path / "colours"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return write_clip(tmp_path_factory.mktemp("clips") / "blobs")
