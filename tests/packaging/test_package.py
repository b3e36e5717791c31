# SPDX-License-Identifier: Apache-2.0
"""package.xml, CMakeLists.txt, pyproject.toml, Makefile and CHANGELOG tell the same story."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import esam3_core
from esam3_core.deploy.doctor import LIBRARIES
from tests.packaging.sources import ROOT, has_function, modules, third_party

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CMAKE = (ROOT / "CMakeLists.txt").read_text()
DISTRIBUTIONS = importlib.metadata.packages_distributions()
FROM_NVIDIA = {"tensorrt"}  # comes with JetPack; where it is missing, the backend says so
PIP_ONLY = {"mujoco"}  # the camera's scene world imports it when asked for one and says how to install it


@pytest.fixture(scope="module")
def manifest() -> Any:
    package = pytest.importorskip("catkin_pkg.package", reason="catkin-pkg comes with the ros extra")
    return package.parse_package(str(ROOT / "package.xml"))


def names(dependencies: list[Any]) -> set[str]:
    return {dependency.name for dependency in dependencies}


def distributions(lines: list[str]) -> set[str]:
    """Requirement lines of pyproject.toml -> the distributions they name."""
    return {canonicalize_name(Requirement(line).name) for line in lines}


def providers(module: str) -> set[str]:
    """Which installed distributions hold an importable name; the name itself when none does."""
    return {canonicalize_name(distribution) for distribution in DISTRIBUTIONS.get(module, [module])}


def test_package_xml_has_no_complaints(manifest: Any) -> None:
    warnings: list[str] = []
    manifest.validate(warnings=warnings)
    assert not warnings
    assert manifest.package_format == 3
    assert manifest.get_build_type() == "ament_cmake"
    assert names(manifest.member_of_groups) == {"rosidl_interface_packages"}


def test_package_xml_lists_what_cmake_finds(manifest: Any) -> None:
    listed = names(manifest.buildtool_depends) | names(manifest.build_depends) | names(manifest.test_depends)
    assert set(re.findall(r"find_package\((\w+)", CMAKE)) <= listed


@pytest.mark.parametrize("path", modules("esam3_ros") + modules("launch"), ids=lambda path: path.name)
def test_package_xml_lists_every_ros_package_that_a_node_imports(manifest: Any, path: Path) -> None:
    from_pip = distributions(PROJECT["dependencies"])
    missing = {module for module in third_party(path) if not providers(module) & from_pip}
    assert missing <= names(manifest.exec_depends) | PIP_ONLY


def test_every_interface_is_built() -> None:
    files = {str(path.relative_to(ROOT)) for folder in ("msg", "srv") for path in (ROOT / folder).iterdir()}
    assert set(re.findall(r"(?:msg|srv)/\w+\.(?:msg|srv)", CMAKE)) == files


def test_every_node_that_is_installed_has_a_main() -> None:
    match = re.search(r"foreach\(node (.+?)\)", CMAKE)
    assert match
    for node in match[1].split():
        assert has_function(ROOT / "esam3_ros" / f"{node}.py", "main"), node


def test_a_workspace_has_the_console_command_for_ros2_run_and_on_the_path() -> None:
    module, function = PROJECT["scripts"]["esam3"].split(":")
    assert function == "main"  # what scripts/program.in calls
    assert f"install_program(esam3 {module} lib/${{PROJECT_NAME}} bin)" in CMAKE


def test_versions_agree(manifest: Any) -> None:
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest
    assert manifest.version == PROJECT["version"] == esam3_core.__version__ == newest[1]


def test_licences_agree(manifest: Any) -> None:
    assert manifest.licenses == [PROJECT["license"]] == ["Apache-2.0"]
    assert "Apache License" in (ROOT / "LICENSE").read_text()


def test_the_console_command_exists() -> None:
    module, function = PROJECT["scripts"]["esam3"].split(":")
    assert has_function(ROOT / f"{module.replace('.', '/')}.py", function)


def test_a_robot_installs_no_torch() -> None:
    assert not distributions(PROJECT["dependencies"]) & {"torch", "torchvision", "timm", "onnxscript"}


def test_the_doctor_looks_for_every_library_of_the_runtime() -> None:
    imported_at_once = {"numpy", "opencv-python-headless", "pyyaml"}  # no verb starts without these
    own_line = {"onnxruntime"}
    assert distributions(PROJECT["dependencies"]) - imported_at_once - own_line == set(LIBRARIES.values())


@pytest.mark.parametrize("path", modules("esam3_core"), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_library_that_the_sources_import_is_declared(path: Path) -> None:
    """A missing line in pyproject.toml shows only on somebody else's machine."""
    extras = PROJECT["optional-dependencies"].values()
    declared = distributions([*PROJECT["dependencies"], *(line for extra in extras for line in extra)])
    assert not {module for module in third_party(path) - FROM_NVIDIA if not providers(module) & declared}


def test_make_help_lists_every_target() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(["make", "help"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    phony = set(re.findall(r"^\.PHONY: (\w+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert listed == phony == {"help", "setup", "demo", "test", "lint", "bench", "clean"}
