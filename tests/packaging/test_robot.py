# SPDX-License-Identifier: Apache-2.0
"""On a robot: rosdep and requirements-robot.txt together install what esam3_core needs, and a gap is named."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from esam3_core.runtime.bundle import SHIPPED
from esam3_ros.isolation import isolate
from tests.packaging.sources import ROOT
from tests.packaging.test_package import PROJECT

ROSDEP = {"numpy": "numpy", "opencv-python-headless": "opencv", "pyyaml": "yaml", "scipy": "scipy", "tqdm": "tqdm"}
"""Distribution on PyPI -> name of its rosdep key after `python3-`."""


def robot_requirements() -> dict[str, Requirement]:
    lines = (ROOT / "requirements-robot.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in requirements}


@pytest.mark.parametrize("line", PROJECT["dependencies"])
def test_every_library_of_the_runtime_reaches_the_robot(line: str) -> None:
    wanted = Requirement(line)
    by_rosdep = f"<exec_depend>python3-{ROSDEP.get(wanted.name)}</exec_depend>" in (ROOT / "package.xml").read_text()
    by_pip = robot_requirements().get(wanted.name)
    assert by_rosdep or by_pip
    if by_pip:
        assert {str(bound) for bound in wanted.specifier} <= {str(bound) for bound in by_pip.specifier}


def installed(folder: Path, place: str = "lib/esam3_ros/tracker", module: str = "esam3_ros.tracker") -> Path:
    """scripts/program.in as CMake installs it at a place below `folder`."""
    text = (ROOT / "scripts/program.in").read_text()
    for name, value in {"Python3_EXECUTABLE": sys.executable, "module": module, "PROJECT_NAME": "esam3_ros"}.items():
        text = text.replace(f"@{name}@", value)
    path = folder / place
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def without(modules: Sequence[str], folder: Path) -> dict[str, str]:
    """The environment of a process that cannot import some modules."""
    (folder / "blocked").mkdir()
    for module in modules:
        blocked = f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')\n"
        (folder / "blocked" / f"{module}.py").write_text(blocked)
    return {**os.environ, "PYTHONPATH": f"{folder / 'blocked'}:{ROOT}:{os.environ.get('PYTHONPATH', '')}"}


def start_without(module: str, program: Path, folder: Path) -> str:
    """Start a program where a module cannot be imported; return what it says."""
    environment = without([module], folder)
    done = subprocess.run([program], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr


COMMAND = "esam3_core.cli"


@pytest.mark.parametrize(
    ("place", "module"),
    [("lib/esam3_ros/tracker", "esam3_ros.tracker"), ("lib/esam3_ros/esam3", COMMAND), ("bin/esam3", COMMAND)],
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(place: str, module: str, tmp_path: Path) -> None:
    said = start_without("numpy", installed(tmp_path, place, module), tmp_path)
    assert "No module named 'numpy'" in said
    requirements = tmp_path / "share/esam3_ros/requirements-robot.txt"
    assert f"{sys.executable} -m pip install -r {requirements}" in said
    assert "Traceback" not in said


def test_a_workspace_that_is_not_sourced_is_said(tmp_path: Path) -> None:
    assert "source the setup.bash" in start_without("rclpy", installed(tmp_path), tmp_path)


def test_the_esam3_command_of_a_workspace_is_that_of_pip(tmp_path: Path) -> None:
    """With its exit status: 2 tells a script that it was not done."""
    program = installed(tmp_path, "bin/esam3", COMMAND)
    environment = without([], tmp_path)
    said = subprocess.run([program, "--version"], env=environment, capture_output=True, text=True, check=True).stdout
    assert said == f"esam3 {PROJECT['version']}\n"
    done = subprocess.run([program, "track", "none.mp4", "--concept", "cup"], env=environment, capture_output=True)
    assert done.returncode == 2


def test_a_copied_bundle_is_launched_without_torch(tmp_path: Path) -> None:
    """The node itself, from a bundle that lies elsewhere, on a machine that has only what a robot installs."""
    pytest.importorskip("rclpy", reason="ROS 2 is not here: `make setup` installs it")
    from tests.ros.conftest import PATIENCE

    bundle = shutil.copytree(SHIPPED / "tabletop", tmp_path / "kitchen")
    isolate()
    environment = without(["torch", "timm", "onnx", "onnxscript", "transformers"], tmp_path)
    environment["PYTHONFAULTHANDLER"] = "1"  # a node that hangs is aborted, and says where each thread was
    command = [installed(tmp_path), "--ros-args", "-p", f"bundle:={bundle}", "-p", "concepts:=['cup']"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as node:
        assert node.stderr is not None
        hangs = threading.Timer(PATIENCE, node.send_signal, [signal.SIGABRT])
        hangs.start()
        said = ""
        try:
            for line in node.stderr:  # ends when the node does
                said += line
                if "listening to" in line:
                    break
        finally:
            node.send_signal(signal.SIGINT)
            said += node.stderr.read()
            hangs.cancel()
    assert "listening to" in said and "No module named" not in said, said
    assert node.returncode == 0, said
