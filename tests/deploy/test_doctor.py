# SPDX-License-Identifier: Apache-2.0
"""The doctor looks at what is there, and every finding that is not good names its remedy."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from esam3_core import cli
from esam3_core.deploy import doctor, machine
from esam3_core.runtime.bundle import Bundle

NEW = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 2025\n"
OLD = "# R36 (release), REVISION: 3.0, GCID: 36923193, BOARD: generic, EABI: aarch64, DATE: Fri Jul 19 2024\n"


def texts(findings: list[doctor.Finding], level: str) -> str:
    return "\n".join(finding.text for finding in findings if finding.level == level)


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files by which a Jetson is known; write `tmp_path/release`."""
    (tmp_path / "model").write_bytes(b"NVIDIA Jetson Orin Nano Developer Kit\0")
    (tmp_path / "release").write_text(NEW)
    monkeypatch.setattr(machine, "MODEL", tmp_path / "model")
    monkeypatch.setattr(machine, "L4T", tmp_path / "release")
    return tmp_path


def test_a_board_and_its_jetpack_are_named(jetson: Path) -> None:
    assert machine.jetpack() == "Jetson Linux 36.4 (JetPack 6.1 or 6.2)"
    assert texts(doctor._board(), "good").startswith("NVIDIA Jetson Orin Nano Developer Kit, Jetson Linux 36.4")


def test_an_old_jetpack_is_bad(jetson: Path) -> None:
    (jetson / "release").write_text(OLD)
    assert "install JetPack 6.1 or newer" in texts(doctor._board(), "bad")


@pytest.mark.parametrize(("mode", "level"), [("MAXN_SUPER", "good"), ("15W", "hint")])
def test_a_slow_power_mode_is_a_hint(mode: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvpmodel"
    program.write_text(f"#!/bin/sh\necho 'NV Power Mode: {mode}'\necho 2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (finding,) = doctor._power()
    assert finding.level == level and mode in finding.text


def test_a_missing_gpu_is_a_hint_on_a_pc_and_bad_on_a_jetson(jetson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = doctor._driver()
    if finding.level == "good":
        pytest.skip("this machine has a GPU")
    assert finding.level == "bad" and "use device=cpu" in finding.text
    monkeypatch.setattr(machine, "L4T", jetson / "none")
    assert doctor._driver()[0].level == "hint"


def test_a_whole_bundle_is_good_and_a_broken_one_bad(own_colours: Bundle) -> None:
    assert f"bundle colours in {own_colours.folder} is whole" in texts(doctor._bundle(str(own_colours.folder)), "good")
    own_colours.graphs["detector"].write_bytes(b"")
    assert "detector.onnx" in texts(doctor._bundle(str(own_colours.folder)), "bad")


def test_shared_memory_that_is_too_small_or_missing_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LEAST_SHARED", 1 << 60)
    assert "--shm-size=256m" in texts(doctor._shared_memory(), "bad")
    monkeypatch.setattr(doctor, "SHARED_MEMORY", tmp_path / "none")
    assert "--ipc=host" in texts(doctor._shared_memory(), "bad")


def test_a_dds_profile_that_is_missing_is_bad_and_none_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    for name in doctor.PROFILES:
        monkeypatch.delenv(name, raising=False)
    assert "config/fastdds_shm.xml" in texts(doctor._shared_memory(), "hint")
    monkeypatch.setenv(doctor.PROFILES[0], "/nowhere.xml")
    assert "the DDS profile /nowhere.xml is missing" in texts(doctor._shared_memory(), "bad")


def test_without_ros_the_rest_is_looked_at_and_ros_is_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "rclpy" or None)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.setattr(doctor, "ROS_FOLDER", tmp_path)
    findings = doctor.examine("tabletop")
    assert "no ROS 2 here, `esam3 segment` and `esam3 track` need none" in texts(findings, "hint")
    assert "bundle tabletop" in texts(findings, "good") and "DDS" not in texts(findings, "hint")


def test_a_ros_that_is_not_sourced_is_bad_and_its_setup_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "ROS_FOLDER", tmp_path)
    setup = tmp_path / "humble/setup.bash"
    setup.parent.mkdir()
    setup.touch()
    assert f"source {setup}" in texts(doctor._ros(), "bad")


def test_messages_that_were_not_built_or_sourced_are_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("rclpy", "esam3_ros"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
        for module in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        said = texts(doctor._ros(), "bad")
    finally:
        for package in ("rclpy", "esam3_ros"):
            sys.modules.pop(package, None)
    assert "esam3_ros.msg cannot be imported" in said and "colcon build, then source install/setup.bash" in said


def test_libraries_of_the_runtime_that_are_missing_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name not in ("tokenizers", "ftfy") or None)
    assert "pip install ftfy tokenizers`" in texts(doctor._libraries(), "bad")


def test_the_command_looks_at_everything(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor"])
    said = capsys.readouterr().out
    for word in ("JetPack", "TensorRT", "ONNX Runtime", "bundle tabletop", "ROS 2"):
        assert word in said
    assert status == (1 if "  bad  " in said or said.startswith("  bad") else 0)
