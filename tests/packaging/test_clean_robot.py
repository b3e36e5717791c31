# SPDX-License-Identifier: Apache-2.0
"""A bundle copied to a clean machine runs: an environment with nothing but the runtime's dependencies, no network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest

from esam3_core.deploy.frames import PICTURES
from esam3_core.runtime.bundle import SHIPPED
from tests.packaging.sources import ROOT
from tests.packaging.test_package import PROJECT

FORBIDDEN = ("torch", "timm", "onnx", "onnxscript", "transformers", "mujoco", "matplotlib")
PROGRAM = """
import sys

def guard(event, arguments):
    if event == "socket.connect":
        raise RuntimeError(f"the network was used: {arguments}")

sys.addaudithook(guard)
from esam3_core.cli import main
status = main(sys.argv[1:])
print("loaded:", *sorted({name.split(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(status)
"""


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def with_dependencies(names: list[str]) -> set[str]:
    """These distributions and all that they need here, extras left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # not needed on this system
        found.add(name)
        waiting += [name_of(line) for line in lines if "extra ==" not in line]
    return found


@pytest.fixture(scope="module")
def clean_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with links to the runtime's dependencies, as installed here."""
    folder = tmp_path_factory.mktemp("robot") / "venv"
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python3*/site-packages"))
    for name in with_dependencies([name_of(line) for line in PROJECT["dependencies"]]):
        distribution = metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or () if file.parts[0] != ".."}:
            source = Path(str(distribution.locate_file(top)))
            if source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    shutil.copytree(ROOT / "esam3_core", site / "esam3_core", ignore=shutil.ignore_patterns("bundles", "__pycache__"))
    return folder / "bin" / Path(sys.executable).name


def test_a_copied_bundle_runs_without_torch_and_without_network(clean_python: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(SHIPPED / "tabletop", tmp_path / "kitchen")
    out = tmp_path / "found.json"
    words = ["segment", str(next(PICTURES.glob("*.jpg"))), "--concept", "cup", "--bundle", str(bundle)]
    done = subprocess.run(
        [clean_python, "-I", "-c", PROGRAM, *words, "--json", str(out)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text())
    loaded = done.stderr.rpartition("loaded:")[2].split()
    assert "onnxruntime" in loaded and not set(loaded) & set(FORBIDDEN)


def test_a_copied_bundle_tracks_with_memory_without_torch_and_without_network(
    clean_python: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(SHIPPED / "tabletop", tmp_path / "kitchen")
    lines = tmp_path / "tracks.jsonl"
    words = ["track", str(PICTURES), "--concept", "cup", "--bundle", str(bundle), "--tracker", "memory"]
    done = subprocess.run(
        [clean_python, "-I", "-c", PROGRAM, *words, "--jsonl", str(lines)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(lines.read_text().splitlines()) == len(list(PICTURES.glob("*.jpg")))
    assert not set(done.stderr.rpartition("loaded:")[2].split()) & set(FORBIDDEN)


def test_the_clean_environment_is_clean(clean_python: Path) -> None:
    for module in FORBIDDEN:
        done = subprocess.run([clean_python, "-I", "-c", f"import {module}"], capture_output=True, text=True)
        assert "No module named" in done.stderr


def test_what_needs_more_says_what_to_install(clean_python: Path, tmp_path: Path) -> None:
    command = [clean_python, "-I", "-c", PROGRAM, "build", "tabletop", "--check"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "`esam3 build` needs onnx, which is not installed: pip install '.[build]'" in done.stderr
