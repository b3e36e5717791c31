# SPDX-License-Identifier: Apache-2.0
"""What NVIDIA's polygraphy says about a graph: which of its nodes TensorRT cannot run. With TensorRT-RTX, so no GPU.

Its command is run, not its modules: only the command is documented (`polygraphy inspect capability --help`).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from onnx import ModelProto

from esam3_core.runtime.errors import EngineError
from esam3_core.runtime.extras import how_to_install

PROGRAM = "import sys; from polygraphy.tools import main; sys.exit(main())"
SUPPORTED = "Graph is fully supported by TensorRT"  # how it says that there is nothing to report
WITHOUT_GPU = {"POLYGRAPHY_USE_TENSORRT_RTX": "1"}


def find_polygraphy() -> None:
    """See that it can be run.

    Raises:
        EngineError: it is not installed.
    """
    if importlib.util.find_spec("polygraphy") is None:
        raise EngineError(f"checking graphs needs polygraphy, which is not installed: {how_to_install('check')}")


def report_capability(model: ModelProto) -> str:
    """Polygraphy's table of what TensorRT cannot run in a graph, with reasons; empty if it can run everything.

    Args:
        model: a graph that carries its precision in its own types.

    Raises:
        EngineError: it gave no report; the message holds what it said last.
    """
    with tempfile.TemporaryDirectory() as scratch:
        graph, out = Path(scratch) / "graph.onnx", Path(scratch) / "out"
        graph.write_bytes(model.SerializeToString())
        command = [sys.executable, "-c", PROGRAM, "inspect", "capability", str(graph), "--output", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **WITHOUT_GPU})
        if SUPPORTED in done.stdout:
            return ""
        report = out / "results.txt"
        if not report.is_file():
            said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
            raise EngineError(f"polygraphy gave no report, it said: {said[-1]}")
        lines = report.read_text(encoding="utf-8").splitlines()
    return "\n".join(line.rstrip() for line in lines if not line.startswith("====="))
