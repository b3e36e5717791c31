# SPDX-License-Identifier: Apache-2.0
"""Engines: compiled graphs with named arrays in and named arrays out."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from esam3_core.config import RuntimeConfig
from esam3_core.runtime.bundle import file_digest
from esam3_core.runtime.errors import EngineError

if TYPE_CHECKING:
    import onnxruntime as ort

BACKENDS = ("auto", "onnxruntime", "tensorrt")
SLOWER_ON_CPU = ("SkipLayerNormFusion",)
"""Optimisations of ONNX Runtime whose kernels for CPUs take longer than what they replace."""
Watch = Callable[[Path, "Engine"], "Engine"]
_LOADING = Lock()
_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


class Engine(Protocol):
    """One compiled graph.

    `run` takes numpy arrays or handles by name. Outputs named in `keep` come back as handles, which stay where they
    were computed and can only be fed to another engine of the same backend; all others come back as numpy arrays.
    """

    inputs: dict[str, tuple[int | str | None, ...]]  # name -> shape; a str or None is a dynamic size
    outputs: dict[str, tuple[int | str | None, ...]]

    def run(self, feeds: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]: ...


class OnnxEngine:
    """A graph run by ONNX Runtime, on the CPU or with CUDA."""

    def __init__(self, path: Path, config: RuntimeConfig) -> None:
        """Load `path`.

        Raises:
            EngineError: the device is not there, or ONNX Runtime cannot read the graph.
        """
        import onnxruntime as ort

        self.device = _choose_device(config.device, ort.get_available_providers())
        options = ort.SessionOptions()
        options.intra_op_num_threads = config.threads or _cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A memory plan made for one number of concepts gives wrong results after another one (seen in 1.18.1).
        options.enable_mem_pattern = False
        # Threads that spin while they wait slow every other process of the robot several times.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        on_cpu = self.device[0] == "cpu"
        if on_cpu:
            with _LOADING:  # graphs are loaded beside each other
                _share_memory()
            options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            self._session = ort.InferenceSession(
                str(path),
                options,
                providers=_providers(self.device),
                disabled_optimizers=SLOWER_ON_CPU if on_cpu else None,
            )
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes
            raise EngineError(f"ONNX Runtime {ort.__version__} cannot load {path}: {error}") from error
        self._ort = ort
        self.inputs = {port.name: tuple(port.shape) for port in self._session.get_inputs()}
        self.outputs = {port.name: tuple(port.shape) for port in self._session.get_outputs()}

    def run(self, feeds: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        """Run the graph once; see `Engine`."""
        binding = self._session.io_binding()
        arrays = {name: np.ascontiguousarray(feed) for name, feed in feeds.items() if isinstance(feed, np.ndarray)}
        for name, feed in feeds.items():
            if name in arrays:
                binding.bind_cpu_input(name, arrays[name])
            else:
                binding.bind_ortvalue_input(name, feed)
        for name in self.outputs:
            kind, index = self.device if name in keep else ("cpu", 0)
            binding.bind_output(name, kind, index)
        self._session.run_with_iobinding(binding)
        values: list[ort.OrtValue] = binding.get_outputs()
        return {
            name: value if name in keep else value.numpy() for name, value in zip(self.outputs, values, strict=True)
        }


class SeldomEngine:
    """A graph on the CPU that is in memory only while it runs; opening it takes longer than running it."""

    def __init__(self, path: Path, config: RuntimeConfig) -> None:
        """Open `path` once, to see that it can be; raises as `OnnxEngine` does."""
        self._path, self._config = path, config
        engine = OnnxEngine(path, config)
        self.inputs, self.outputs = engine.inputs, engine.outputs

    def run(self, feeds: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        """Run the graph once; see `Engine`."""
        found = OnnxEngine(self._path, self._config).run(feeds, keep)
        give_back_memory()
        return found


@dataclass(frozen=True)
class Graph:
    """A graph file, and the inputs and outputs that its user needs."""

    path: Path
    inputs: Collection[str]
    outputs: Collection[str]
    seldom: bool = False  # it runs so seldom that its weights need not stay in memory, on a CPU


def load_engine(path: Path, config: RuntimeConfig, inputs: Collection[str], outputs: Collection[str]) -> Engine:
    """Load one graph of a bundle; see `load_engines`."""
    return load_engines([Graph(path, inputs, outputs)], config)[0]


def load_engines(graphs: Sequence[Graph], config: RuntimeConfig) -> list[Engine]:
    """Load graphs of one bundle with the backend that `config` names, on a CPU beside each other.

    Raises:
        EngineError: the backend or device is not there, a graph is unreadable, or it lacks one of the inputs or
            outputs that its user needs.
    """
    # Read by every OpenMP runtime at its start; ONNX Runtime builds of some boards use one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    engines = _open_all(graphs, config)
    watch = _watch.get()
    for number, (graph, engine) in enumerate(zip(graphs, engines, strict=True)):
        _check_ports(graph.path, "inputs", graph.inputs, engine.inputs)
        _check_ports(graph.path, "outputs", graph.outputs, engine.outputs)
        engines[number] = watch(graph.path, engine) if watch else engine
    return engines


def _open_all(graphs: Sequence[Graph], config: RuntimeConfig) -> list[Engine]:
    paths = [graph.path for graph in graphs]
    if choose_backend(paths[0].parent, config).backend == "tensorrt":
        from esam3_core.runtime.tensorrt_engine import open_tensorrt

        return [open_tensorrt(path, file_digest(path), _gpu_index(config.device)) for path in paths]
    import onnxruntime as ort

    # Each takes one core while ONNX Runtime optimises it. A GPU is one device, and its driver is set up once.
    on_cpu = _choose_device(config.device, ort.get_available_providers())[0] == "cpu"
    kinds = [SeldomEngine if on_cpu and graph.seldom else OnnxEngine for graph in graphs]
    with ThreadPoolExecutor(len(paths) if on_cpu else 1) as pool:
        engines: list[Engine] = list(pool.map(lambda kind, path: kind(path, config), kinds, paths))
    if on_cpu:
        give_back_memory()
    return engines


@contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Hand every engine that is loaded in the `with` block to `watch`, and use what it returns instead."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


@dataclass(frozen=True)
class Choice:
    """Which backend runs a bundle's engines."""

    backend: str  # onnxruntime, tensorrt
    reason: str = ""  # why `auto` did not take TensorRT


def choose_backend(bundle: Path, config: RuntimeConfig) -> Choice:
    """What `config.backend` means for a bundle on this machine.

    `auto` takes TensorRT only if every graph of the bundle has an engine built here: engines of two backends cannot
    hand results to each other on the device.

    Raises:
        EngineError: unknown backend; or TensorRT is demanded together with a device that it cannot use.
    """
    if config.backend not in BACKENDS:
        raise EngineError(f"unknown backend {config.backend!r}: choose one of {', '.join(BACKENDS)}")
    if config.backend == "onnxruntime":
        return Choice("onnxruntime")
    if config.device == "cpu":
        if config.backend == "tensorrt":
            raise EngineError("backend tensorrt needs a GPU: use device=auto or cuda:0, or backend=onnxruntime")
        return Choice("onnxruntime", "device is cpu")
    if config.backend == "tensorrt":
        return Choice("tensorrt")
    from esam3_core.runtime.cuda import open_driver
    from esam3_core.runtime.engine_folder import find_engine
    from esam3_core.runtime.tensorrt_engine import import_tensorrt

    try:
        version = str(import_tensorrt().__version__)
        gpu = open_driver(_gpu_index(config.device)).gpu()
        for graph in sorted(bundle.glob("*.onnx")):
            find_engine(graph, file_digest(graph), gpu, version)
    except EngineError as error:
        return Choice("onnxruntime", str(error))
    return Choice("tensorrt")


def _gpu_index(device: str) -> int:
    kind, _, index = "cuda:0".partition(":") if device == "auto" else device.partition(":")
    if kind != "cuda" or not (index or "0").isdigit():
        raise EngineError(f"unknown device {device!r}: choose auto, cpu, cuda or cuda:0")
    return int(index or 0)


def _check_ports(path: Path, kind: str, needed: Collection[str], found: Collection[str]) -> None:
    missing = [name for name in needed if name not in found]
    if missing:
        raise EngineError(
            f"{path} lacks the {kind} {', '.join(missing)} (it has {', '.join(found)}): "
            "it is not this graph of a bundle; make the bundle again with `esam3 export`"
        )


def _choose_device(device: str, providers: Collection[str]) -> tuple[str, int]:
    has_cuda = "CUDAExecutionProvider" in providers
    if device == "cpu" or (device == "auto" and not has_cuda):
        return "cpu", 0
    index = _gpu_index(device)
    if not has_cuda:
        raise EngineError(
            f"device {device!r} needs onnxruntime-gpu, which is not installed: install it or use device=cpu"
        )
    return "cuda", index


def give_back_memory() -> None:
    """Hand what the C library keeps of freed memory back to the system, where there is a call for that (glibc).

    ONNX Runtime reads each graph as a whole before it copies the weights: 0.2 GB are left over by official students.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim:
        trim(0)


@cache
def _share_memory() -> None:
    """Let all engines on the CPU use one store of memory, grown by what is needed.

    One engine runs after another, and what each holds for itself is idle meanwhile: official students take 861 MB
    instead of 1063 MB.
    """
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_requested = 1  # the default doubles whenever it grows
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"max_mem": 0, "arena_extend_strategy": as_requested}))


def _providers(device: tuple[str, int]) -> list[Any]:
    kind, index = device
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
