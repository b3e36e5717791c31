# SPDX-License-Identifier: Apache-2.0
"""House rules that a file can break without any other test noticing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.sources import ROOT, tracked

CODE = {".py", ".sh", ".cmake", ".msg", ".srv", ".in", ".yaml", ".yml", ".toml"}
CODE_NAMES = {"CMakeLists.txt", "Makefile", "run"}
SOURCES = [path for path in tracked() if path.suffix in CODE or path.name in CODE_NAMES]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_files_name_their_licence_first(path: Path) -> None:
    lines = path.read_text().splitlines()
    if not lines or "bundles" in path.parts:
        pytest.skip("nothing in it, or written by a program")
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    assert first == "# SPDX-License-Identifier: Apache-2.0"


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.suffix == ".py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_files_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 400


def test_no_module_is_named_utils() -> None:
    assert not [path for path in SOURCES if path.stem in {"utils", "util", "helpers", "misc"}]


def test_nothing_large_is_committed() -> None:
    """A bundle may weigh 25 MB; nothing else comes near a megabyte."""
    for path in tracked():
        limit = 25_000_000 if "bundles" in path.parts else 2_000_000
        assert path.stat().st_size <= limit, f"{path.relative_to(ROOT)} is too large to be committed"
