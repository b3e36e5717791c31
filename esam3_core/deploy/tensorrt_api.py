# SPDX-License-Identifier: Apache-2.0
"""TensorRT's parser and builder: the only place that calls them.

One code path for TensorRT 10.3 to 11.x: strongly typed networks, and only names that all of these versions have
(tests/deploy/test_tensorrt_api.py holds the list). The TensorRT-RTX wheel has the same interface and needs no GPU to
parse and build, so it checks graphs on any x86-64 machine; it says nothing about speed or about half precision.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esam3_core.runtime.errors import EngineError
from esam3_core.runtime.extras import how_to_install

OLDEST = (10, 3)  # first version with everything used here; JetPack 6.1 and newer have it
MIB = 1 << 20
MODULES = {"build": "tensorrt", "check": "tensorrt_rtx"}

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""Input -> least, usual and largest shape, for inputs with a dynamic axis."""


@dataclass(frozen=True)
class TensorRt:
    """An imported TensorRT."""

    module: Any
    version: str
    log: Any  # keeps what TensorRT says

    @property
    def builds_without_gpu(self) -> bool:
        """True for TensorRT-RTX."""
        return bool(self.module.__name__ == MODULES["check"])


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built."""

    workspace: int = 1 << 30  # bytes that one layer may borrow while it runs
    level: int = 3  # 0..5, how long TensorRT looks for fast kernels; 3 is its own default
    exact: bool = False  # no TF32: single precision means single precision


def find_tensorrt(purpose: str = "build") -> TensorRt:
    """Import TensorRT.

    Args:
        purpose: "build" for engines of this machine's GPU, "check" for TensorRT-RTX, which needs no GPU.

    Raises:
        EngineError: it is not installed or too old; the message names the remedy.
    """
    name = MODULES[purpose]
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise EngineError(_missing(purpose, error)) from error
    version = str(module.__version__)
    if purpose == "build" and version_numbers(version) < OLDEST:
        raise EngineError(
            f"TensorRT {version} is too old, esam3 needs {OLDEST[0]}.{OLDEST[1]} or newer: on a Jetson install JetPack "
            "6.1 or newer, or use backend=onnxruntime"
        )
    return TensorRt(module, version, _log(name))


def version_numbers(version: str) -> tuple[int, ...]:
    """"10.16.2.10" -> (10, 16, 2, 10); a suffix such as post1 does not count."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("post")[0]))


def build_engine(
    tensorrt: TensorRt,
    onnx: bytes,
    profile: Profile,
    options: BuildOptions,
    timing_cache: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> bytes:
    """Parse a graph and build it.

    Args:
        onnx: a serialized graph that carries its precision in its own types (`precision.py`).
        timing_cache: file of kernel timings to read and to write; it makes the next build faster. Needs a GPU.
        progress: told about phase, step and number of steps; it should return soon.

    Returns:
        The serialized engine.

    Raises:
        EngineError: TensorRT cannot parse or build the graph; the message names nodes and reasons.
    """
    trt, log = tensorrt.module, tensorrt.log
    log.start()
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        reasons = [_describe(parser.get_error(index)) for index in range(parser.num_errors)]
        raise EngineError(f"TensorRT {tensorrt.version} cannot parse it: {'; '.join(reasons) or log.reason()}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace)
    config.builder_optimization_level = options.level
    if options.exact:
        config.clear_flag(trt.BuilderFlag.TF32)
    _add_profile(builder, network, config, profile)
    if progress:
        config.progress_monitor = _monitor(trt, progress)
    cache = _read_timings(config, timing_cache)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        reason = log.reason()
        raise EngineError(
            f"TensorRT {tensorrt.version} cannot build it: {reason}{workspace_remedy(reason, options.workspace)}"
        )
    if cache is not None and timing_cache is not None:
        _replace(timing_cache, bytes(config.get_timing_cache().serialize()))
    return bytes(engine)


def workspace_remedy(reason: str, workspace: int) -> str:
    """What to do about a layer that asked for more memory than the `workspace` bytes that it may borrow; "" for any
    other reason."""
    asked = re.search(r"OutOfMemory.*Requested size was (\d+)", reason)
    if asked is None or int(asked[1]) <= workspace:
        return ""
    wanted = -(-int(asked[1]) // MIB)
    return f": a layer asks for {wanted} MB and may borrow {workspace // MIB}, so add --workspace {wanted} or more"


def _missing(purpose: str, error: Exception) -> str:
    reason = str(error).splitlines()[0]
    if purpose == "check":
        return (
            f"checking graphs without a GPU needs TensorRT-RTX ({reason}): {how_to_install('check')} on a Linux "
            "x86-64 machine, or run `esam3 build` on the board itself"
        )
    where = "JetPack 6.1 and newer bring it (apt install python3-libnvinfer), a PC gets it with pip install tensorrt"
    return f"TensorRT cannot be imported ({reason}): {where}; without a GPU use --check"


@functools.cache
def _log(name: str) -> Any:
    """The one logger of this process: TensorRT ignores a second one."""
    trt: Any = sys.modules[name]

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.start()

        def start(self) -> None:
            """Forget what was said before."""
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT."""
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)
            elif severity == trt.ILogger.WARNING:
                self.warnings.append(message)

        def reason(self) -> str:
            """What went wrong, in one line."""
            return " ".join(" / ".join(self.errors[:3] or self.warnings[-3:]).split()) or "it gave no reason"

    return Log()


def _describe(error: Any) -> str:
    where = error.node_name() or "the file"
    operator = f" ({error.node_operator()})" if error.node_operator() else ""
    return f"{where}{operator}: {' '.join(error.desc().split())[:300]}"


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile) -> None:
    chosen = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if any(side < 0 for side in tuple(tensor.shape)):
            if tensor.name not in profile:
                raise EngineError(f"input {tensor.name} {tuple(tensor.shape)} is dynamic and has no profile")
            chosen.set_shape(tensor.name, *profile[tensor.name])
    config.add_optimization_profile(chosen)


def _read_timings(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    known = path.read_bytes() if path.is_file() else b""
    cache = config.create_timing_cache(known)
    if cache is None:  # of another version or cut short
        cache = config.create_timing_cache(b"")
    # False: timings of another GPU are refused, not used.
    if not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.replace(path)


def _monitor(trt: Any, progress: Callable[[str, int, int], None]) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """Called by TensorRT."""
            self._steps[phase_name] = num_steps

        def phase_finish(self, phase_name: str) -> None:
            """Called by TensorRT."""
            self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Called by TensorRT; True means go on."""
            progress(phase_name, step, self._steps.get(phase_name, 0))
            return True

    return Monitor()
