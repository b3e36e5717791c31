# SPDX-License-Identifier: Apache-2.0
"""What a measurement was made on; a figure without it is worth nothing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from esam3_core.runtime.cuda import open_driver
from esam3_core.runtime.errors import EngineError

MODEL = Path("/proc/device-tree/model")
L4T = Path("/etc/nv_tegra_release")
JETPACKS = {  # release of Jetson Linux -> JetPack
    "35": "5.1", "36.2": "6.0", "36.3": "6.0", "36.4": "6.1 or 6.2", "36.5": "6.2", "38.2": "7.0", "38.4": "7.1",
    "39.2": "7.2",
}  # fmt: skip


def describe_machine() -> dict[str, str]:
    """Names and versions of this machine, as far as they can be found out."""
    found = {
        "machine": board_model() or platform.machine(),
        "cpu": cpu_model(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "system": jetpack() or platform.platform(terse=True),
        "power mode": power_mode(),
        "onnxruntime": version_of("onnxruntime", "onnxruntime-gpu"),
        "tensorrt": version_of("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    }
    try:
        gpu = open_driver().gpu()
        found["gpu"] = f"{gpu.name} (sm_{gpu.capability.replace('.', '')}, CUDA {gpu.cuda})"
    except EngineError:
        found["gpu"] = ""
    return {name: value for name, value in found.items() if value}


def board_model() -> str:
    """Such as "NVIDIA Jetson Orin Nano Developer Kit"; empty on a PC."""
    return MODEL.read_text(errors="replace").strip("\0\n ") if MODEL.is_file() else ""


def jetpack() -> str:
    """Release of Jetson Linux and the JetPack it belongs to; empty on a PC."""
    found = re.search(r"# R(\d+) .*REVISION: (\d+)(?:\.(\d+))?", L4T.read_text()) if L4T.is_file() else None
    if not found:
        return ""
    release = f"{found[1]}.{found[2]}"
    name = JETPACKS.get(release) or JETPACKS.get(found[1])
    return f"Jetson Linux {release}" + (f" (JetPack {name})" if name else "")


def power_mode() -> str:
    """What nvpmodel says, such as "MAXN_SUPER"; empty on a PC."""
    if not shutil.which("nvpmodel"):
        return ""
    done = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=10, check=False)
    found = re.search(r"NV Power Mode:\s*(\S+)", done.stdout)
    return found[1] if found else ""


def cpu_model() -> str:
    """The CPU's own name."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", path.read_text(errors="replace"), re.M) if path.is_file() else None
    return found[1].strip() if found else ""


def version_of(*packages: str) -> str:
    """Version of the first of some packages that is installed; empty if none is."""
    for package in packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return ""
