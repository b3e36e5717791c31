# SPDX-License-Identifier: Apache-2.0
"""The import rule: `esam3_ros -> runtime -> config`, no torch on the robot, no ROS in the core."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.sources import ROOT, imported, modules, top_level

ROS = {
    "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "esam3_ros", "geometry_msgs", "launch",
    "launch_ros", "lifecycle_msgs", "rcl_interfaces", "rclpy", "sensor_msgs", "sensor_msgs_py", "std_msgs", "std_srvs",
    "vision_msgs",
}
TORCH = {"torch", "torchvision", "timm", "onnxscript"}

# Part of esam3_core -> parts it may import. A part that is not named here may import every other.
ALLOWED: dict[str, set[str]] = {
    "config": {"config_checks", "config_memory", "config_text", "config_values"},
    "config_checks": set(),
    "config_fit": {"config_checks"},
    "config_memory": {"config_checks"},
    "config_stage1": {"config", "config_checks", "config_fit"},
    "config_stage2": {"config", "config_checks", "config_fit"},
    "config_stage3": {"config", "config_checks", "config_fit"},
    "config_text": {"config_checks"},
    "config_values": set(),
    "runtime": {"config"},
    "nn": {"config"},
    "scenes": {"config"},
    "metrics": {"config", "data", "runtime", "scenes"},
}


def part(name: str) -> str | None:
    """Which part of esam3_core a dotted name lies in: "esam3_core.runtime.bundle.load" -> "runtime"."""
    words = name.split(".")
    return words[1] if words[0] == "esam3_core" and len(words) > 1 else None


@pytest.mark.parametrize("path", modules("esam3_core"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_imports_no_ros(path: Path) -> None:
    assert not top_level(path) & ROS


@pytest.mark.parametrize("path", modules("esam3_core/runtime"), ids=lambda path: path.name)
def test_the_runtime_imports_no_torch(path: Path) -> None:
    assert not top_level(path) & TORCH


@pytest.mark.parametrize("path", modules("esam3_ros"), ids=lambda path: path.name)
def test_the_nodes_import_no_torch(path: Path) -> None:
    assert not top_level(path) & TORCH


@pytest.mark.parametrize("name", ALLOWED)
def test_arrows_between_the_parts_point_one_way(name: str) -> None:
    folder = ROOT / "esam3_core" / name
    for path in modules(f"esam3_core/{name}") if folder.is_dir() else [folder.with_suffix(".py")]:
        wrong = {target for target in map(part, imported(path)) if target and target not in {name, *ALLOWED[name]}}
        assert not wrong, f"{path.relative_to(ROOT)} imports esam3_core.{wrong.pop()}"


def test_the_nodes_see_only_the_public_api_runtime_config_scenes_and_metrics() -> None:
    public = set(re.findall(r'"(\w+)"', (ROOT / "esam3_core/__init__.py").read_text()))
    for path in modules("esam3_ros"):
        for name in imported(path):
            target = part(name)
            assert target in {None, "runtime", "config", "scenes", "metrics", *public}, f"{path.name} imports {name}"


@pytest.mark.parametrize("statement", ["import esam3_core", "import esam3_core.runtime, esam3_core.cli"])
def test_importing_what_a_robot_uses_loads_neither_torch_nor_ros(statement: str) -> None:
    """What the ast cannot see: imports that other libraries make on our behalf."""
    program = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & (TORCH | ROS)
