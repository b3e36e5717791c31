# SPDX-License-Identifier: Apache-2.0
"""What makes a machine ready: Debian packages, the ROS 2 wheels, the environment file, CMake's choice of Python."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy
import pytest

from tests.packaging.sources import ROOT
from tools.relocate_wheels import relocate


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def test_exports_of_the_wheels_get_this_machines_include_folders(tmp_path: Path) -> None:
    export = tmp_path / "share/std_msgs/cmake/export.cmake"
    builder = "/opt/python/cp311-cp311"
    write(export, f'"{builder}/include/python3.11;{builder}/lib/python3.11/site-packages/numpy/_core/include"')
    assert relocate(tmp_path) == [export]
    assert export.read_text() == f'"{sysconfig.get_paths()["include"]};{numpy.get_include()}"'
    assert relocate(tmp_path) == []


def needs_dpkg() -> None:
    if run(["which", "dpkg-query"]).returncode:
        pytest.skip("this is no Debian or Ubuntu")


def test_installed_debian_packages_are_left_alone() -> None:
    needs_dpkg()
    done = run(["tools/debian.sh", "bash", "dpkg"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_who_cannot_become_root_is_told_what_to_install(tmp_path: Path) -> None:
    needs_dpkg()
    write(tmp_path / "id", "#!/bin/sh\necho 1000\n", 0o755)
    write(tmp_path / "sudo", "#!/bin/sh\nexit 1\n", 0o755)
    done = run(["tools/debian.sh", "bash", "esam3-no-such-package"], PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 1
    assert "apt-get install -y --no-install-recommends esam3-no-such-package" in done.stderr


def test_sourcing_the_environment_twice_changes_nothing() -> None:
    show = "env | grep -v '^_=' | sort"
    done = run(["bash", "-euc", f"source scripts/env.sh; {show}; echo ----; source scripts/env.sh; {show}"])
    once, twice = done.stdout.split("----\n")
    assert once == twice
    assert f"PYTHONPATH={ROOT}:" in once or f"PYTHONPATH={ROOT}\n" in once


def check_python(**environment: str) -> tuple[int, str]:
    """Exit status and what CMake says, without its line breaks."""
    python = f"-DPython3_EXECUTABLE={Path(sys.base_exec_prefix) / 'bin' / Path(sys.executable).resolve().name}"
    done = run(["cmake", python, "-P", "cmake/check_python.cmake"], **environment)
    return done.returncode, " ".join(done.stderr.split())


def test_a_build_with_another_python_than_ros_stops_and_names_the_right_one(tmp_path: Path) -> None:
    site = tmp_path / "lib/python3.99/site-packages"
    write(site / "rosidl_generator_py/__init__.py", "")
    status, said = check_python(PYTHONPATH=str(site))
    assert status
    assert "-DPython3_EXECUTABLE=/usr/bin/python3.99" in said


def test_a_build_with_rosidl_for_the_same_python_goes_on(tmp_path: Path) -> None:
    site = tmp_path / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    write(site / "rosidl_generator_py/__init__.py", "")
    assert check_python(PYTHONPATH=str(site)) == (0, "")


def test_a_build_without_ros_says_what_to_source() -> None:
    status, said = check_python(PYTHONPATH="")
    assert status
    assert "source the setup file" in said
