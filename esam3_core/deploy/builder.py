# SPDX-License-Identifier: Apache-2.0
"""Builds one engine in a process of its own: `python -m esam3_core.deploy.builder JOB.json`.

A builder that crashes or is killed for want of memory takes nothing with it, and its memory is free afterwards.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from esam3_core.deploy.tensorrt_api import BuildOptions, build_engine, find_tensorrt
from esam3_core.runtime.errors import EngineError

REFUSED = 2  # exit status when TensorRT says no


def main(job_file: str) -> int:
    """Build what a job file describes; progress and errors go to the output as one JSON object per line."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    profile = {name: tuple(tuple(shape) for shape in shapes) for name, shapes in job["profile"].items()}
    try:
        engine = build_engine(
            find_tensorrt(job["purpose"]),
            Path(job["onnx"]).read_bytes(),
            profile,  # type: ignore[arg-type]
            BuildOptions(**job["options"]),
            Path(job["timing_cache"]) if job["timing_cache"] else None,
            lambda phase, step, steps: _say(phase=phase, step=step, steps=steps),
        )
        Path(job["out"]).write_bytes(engine)
    except EngineError as error:
        _say(error=str(error))
        return REFUSED
    except OSError as error:
        _say(error=f"the engine cannot be written ({error}): make room on the disk, then run the same command again; "
                   "engines that are there stay usable")  # fmt: skip
        return REFUSED
    return 0


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
