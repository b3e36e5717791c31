# SPDX-License-Identifier: Apache-2.0
"""Looks at everything a robot needs to run esam3 and says, sentence by sentence, what to fix."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.machine import board_model, jetpack, power_mode, version_of
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.cuda import open_driver
from esam3_core.runtime.engines import choose_backend
from esam3_core.runtime.errors import Esam3Error
from esam3_core.runtime.tensorrt_engine import import_tensorrt

LIBRARIES = {  # module -> distribution: what a node or a verb imports only once it needs it
    "ftfy": "ftfy", "pycocotools": "pycocotools", "rosbags": "rosbags", "safetensors": "safetensors",
    "scipy": "scipy", "tokenizers": "tokenizers", "tqdm": "tqdm", "imageio_ffmpeg": "imageio-ffmpeg",
}  # fmt: skip
ROS_FOLDER = Path("/opt/ros")
SHARED_MEMORY = Path("/dev/shm")
LEAST_SHARED = 64 << 20  # bytes, for images between nodes
LEAST_DISK = 500 << 20  # bytes, for engines
PROFILES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")


@dataclass(frozen=True)
class Finding:
    """What one look gave."""

    level: str  # good, hint: it works but not at its best, bad: it does not work
    text: str


def examine(bundle: str) -> list[Finding]:
    """Look at everything, in the order in which it should be fixed."""
    looks: tuple[Callable[[], list[Finding]], ...] = (
        _board, _power, _driver, _tensorrt, _libraries, lambda: _bundle(bundle), _ros,
        *([_shared_memory] if importlib.util.find_spec("rclpy") else []),  # else nobody sends images between nodes
    )  # fmt: skip
    return [finding for look in looks for finding in look()]


def as_text(findings: list[Finding]) -> str:
    """One line per finding."""
    return "\n".join(f"{finding.level:>5}  {finding.text}" for finding in findings)


def _board() -> list[Finding]:
    model, release = board_model(), jetpack()
    if not release:
        return [Finding("good", f"{model or 'a PC'}: not a Jetson, JetPack does not matter")]
    number = re.search(r"Linux (\d+)\.(\d+)", release)
    if number and (int(number[1]), int(number[2])) < (36, 4):
        return [Finding("bad", f"{model}, {release}: install JetPack 6.1 or newer, older TensorRT is not supported")]
    return [Finding("good", f"{model}, {release}")]


def _power() -> list[Finding]:
    mode = power_mode()
    if not mode:
        return []
    if not mode.startswith("MAXN"):
        advice = "`sudo nvpmodel -q --verbose` lists faster ones, `sudo nvpmodel -m` sets one; then `jetson_clocks`"
        return [Finding("hint", f"power mode {mode}: {advice}")]
    return [Finding("good", f"power mode {mode}; `sudo jetson_clocks` keeps the clocks up while you measure")]


def _driver() -> list[Finding]:
    try:
        gpu = open_driver().gpu()
    except Esam3Error as error:
        return [Finding("bad" if board_model() and jetpack() else "hint", str(error))]
    return [Finding("good", f"GPU {gpu.name}, sm_{gpu.capability.replace('.', '')}, driver for CUDA {gpu.cuda}")]


def _tensorrt() -> list[Finding]:
    try:
        version = str(import_tensorrt().__version__)
    except Esam3Error as error:
        return [Finding("bad" if jetpack() else "hint", str(error))]
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < (10, 3):
        return [Finding("bad", f"TensorRT {version} is too old: install JetPack 6.1 or newer, or TensorRT 10.3")]
    return [Finding("good", f"TensorRT {version}")]


def _libraries() -> list[Finding]:
    missing = [LIBRARIES[module] for module in LIBRARIES if importlib.util.find_spec(module) is None]
    if not missing:
        return []
    remedy = f"run `{sys.executable} -m pip install {' '.join(missing)}`"
    return [Finding("bad", f"{', '.join(missing)} not installed: {remedy}")]


def _bundle(name: str) -> list[Finding]:
    runtime = version_of("onnxruntime", "onnxruntime-gpu")
    if not runtime:
        return [Finding("bad", "ONNX Runtime is not installed: pip install onnxruntime")]
    found = [Finding("good", f"ONNX Runtime {runtime}")]
    try:
        bundle = Bundle.load(name)
    except Esam3Error as error:
        return [*found, Finding("bad", str(error))]
    found.append(Finding("good", f"bundle {bundle.name} in {bundle.folder} is whole"))
    choice = choose_backend(bundle.folder, RuntimeConfig())
    if choice.reason:
        found.append(Finding("hint", f"it runs with {choice.backend}, not with TensorRT: {choice.reason}"))
    else:
        found.append(Finding("good", "it runs with TensorRT engines built on this machine"))
    free = shutil.disk_usage(bundle.folder).free
    if not choice.reason or free >= LEAST_DISK:
        return found
    room = f"{free >> 20} MB are free beside the bundle: engines may need {LEAST_DISK >> 20} MB"
    return [*found, Finding("hint", room)]


def _ros() -> list[Finding]:
    distro = os.environ.get("ROS_DISTRO", "")
    if importlib.util.find_spec("rclpy") is None:
        installed = sorted(ROS_FOLDER.glob("*/setup.bash"))
        if not distro and not installed:
            remedy = "for the nodes install it, or run `make setup` in a checkout and source its scripts/env.sh"
            return [Finding("hint", f"there is no ROS 2 here, `esam3 segment` and `esam3 track` need none: {remedy}")]
        remedy = f"source {installed[-1] if installed else f'/opt/ros/{distro}/setup.bash'} with ROS's own Python"
        return [Finding("bad", f"ROS 2 cannot be found by {sys.executable}: {remedy}")]
    name = f"ROS 2 {distro or '(ROS_DISTRO is not set)'}"
    for module, remedy in (
        ("rclpy", "source the setup.bash of its distribution, and use its own Python"),
        ("esam3_ros.msg", "colcon build, then source install/setup.bash (after `make setup`: scripts/env.sh)"),
    ):
        try:
            importlib.import_module(module)
        except ImportError as error:
            return [Finding("bad", f"{name}, but {module} cannot be imported ({error}): {remedy}")]
    return [Finding("good", f"{name} with esam3_ros")]


def _shared_memory() -> list[Finding]:
    if not SHARED_MEMORY.is_dir() or not os.access(SHARED_MEMORY, os.W_OK):
        return [Finding("bad", "/dev/shm cannot be written: start the container with --ipc=host")]
    usage = shutil.disk_usage(SHARED_MEMORY)
    if usage.free < LEAST_SHARED:
        remedy = "start the container with --ipc=host or --shm-size=256m, or end other programs"
        need = f"/dev/shm has {usage.free >> 20} MB left, images between nodes need {LEAST_SHARED >> 20}"
        return [Finding("bad", f"{need}: {remedy}")]
    rmw = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    profile = next((os.environ[name] for name in PROFILES if os.environ.get(name)), "")
    if rmw == "rmw_fastrtps_cpp" and not profile:
        return [Finding("hint", "Fast DDS cuts images up: set FASTDDS_DEFAULT_PROFILES_FILE (Humble and Jazzy: "
                                "FASTRTPS_DEFAULT_PROFILES_FILE) to config/fastdds_shm.xml of esam3_ros")]  # fmt: skip
    if profile and not Path(profile).is_file():
        return [Finding("bad", f"the DDS profile {profile} is missing: correct the variable that names it")]
    shown = f", profile {profile}" if profile else ""
    return [Finding("good", f"{rmw}, {usage.free >> 20} MB of shared memory{shown}")]
