# SPDX-License-Identifier: Apache-2.0
"""One engine is built by a process of its own, and how that ended is said in a sentence."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

from onnx import ModelProto

from esam3_core.deploy.graph_file import dynamic_inputs
from esam3_core.deploy.presets import DYNAMIC
from esam3_core.deploy.tensorrt_api import BuildOptions
from esam3_core.runtime.errors import EngineError

Say = Callable[[str], None]


def run_builder(
    purpose: str, model: ModelProto, out: Path, options: BuildOptions, timing_cache: Path | None, graph: str, say: Say
) -> None:
    """Build one graph in a process of its own.

    Raises:
        EngineError: it did not come to a good end; nothing is left at `out`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        graph_file, job_file = Path(scratch) / "graph.onnx", Path(scratch) / "job.json"
        graph_file.write_bytes(model.SerializeToString())
        job = {
            "purpose": purpose,
            "onnx": str(graph_file),
            "profile": profile_of(model),
            "options": asdict(options),
            "timing_cache": str(timing_cache) if timing_cache else "",
            "out": str(out),
        }
        job_file.write_text(json.dumps(job), encoding="utf-8")
        problem = ""
        with (Path(scratch) / "stderr").open("w+b") as stderr:
            command = [sys.executable, "-m", "esam3_core.deploy.builder", str(job_file)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process:
                assert process.stdout is not None
                problem = _follow(process.stdout, graph, say)
            stderr.seek(0)
            ending = stderr.read().decode(errors="replace").strip().splitlines()[-1:]
        if process.returncode:
            out.unlink(missing_ok=True)
            raise EngineError(f"{graph}: {problem or _ending(process.returncode, ending)}")


def profile_of(model: ModelProto) -> dict[str, list[list[int]]]:
    """Least, usual and largest shape of every input with a dynamic axis.

    Raises:
        EngineError: an axis has a name that no range is known for.
    """
    profile = {}
    for name, shape in dynamic_inputs(model).items():
        unknown = [side for side in shape if isinstance(side, str) and side not in DYNAMIC]
        if unknown:
            raise EngineError(f"input {name} has the dynamic axis {unknown[0]!r}: known ones are {', '.join(DYNAMIC)}")
        profile[name] = [[DYNAMIC[side][k] if isinstance(side, str) else side for side in shape] for k in range(3)]
    return profile


def _follow(lines: Iterable[str], graph: str, say: Say) -> str:
    """Pass progress on, at most once every few seconds; returns the error that was told, if any."""
    problem, last = "", time.monotonic()
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue  # TensorRT itself prints as well
        problem = told.get("error", problem)
        if "phase" in told and time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"{graph}: {told['phase']} {told['step']}/{told['steps']}")
    return problem


def _ending(status: int, ending: list[str]) -> str:
    if status == -signal.SIGKILL:
        return (
            "the builder was killed, most likely because the board ran out of memory: stop the desktop and other "
            "programs, add swap on a disk, use --workspace 512, and run the same command again"
        )
    if status < 0:
        name = signal.Signals(-status).name
        return f"TensorRT crashed ({name}): run the same command again; engines built so far stay"
    return f"the builder failed: {ending[0] if ending else 'it gave no reason'}"
