# SPDX-License-Identifier: Apache-2.0
"""A bundle of a small official student with its tracker, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from esam3_core.convert.bundle import export_official
from tests.convert.small import small_student


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_official(small_student(), tmp_path_factory.mktemp("official") / "small", {"checkpoint": "none"})
