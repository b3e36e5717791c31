# SPDX-License-Identifier: Apache-2.0
"""Engines run by TensorRT: buffers allocated once, results that stay on the GPU, repeated work launched as one graph.

Each engine has a stream of its own; engines wait for each other by events on the GPU, and the CPU waits only for
arrays that it asked for. Outputs that are kept have two places, used in turn: those of the frame before last are gone.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.cuda import Driver, open_driver
from esam3_core.runtime.engine_folder import find_engine
from esam3_core.runtime.errors import EngineError

SETS = 2  # places of a kept output
CAPTURE_AFTER = 2  # runs with the same shapes and places before they become a CUDA graph
MOST_GRAPHS = 32  # per engine; more kinds of runs than that are launched one by one
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """An output that stayed on the GPU; only engines of this backend can read it."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    ready: int  # event: it is written
    driver: Driver

    def numpy(self) -> NDArray[Any]:
        """A copy in the memory of the CPU."""
        self.driver.use()
        array = np.empty(self.shape, self.dtype)
        stream = _copy_stream(self.driver.index)
        self.driver.wait_event(stream, self.ready)
        self.driver.download(array, self.address, stream)
        self.driver.wait(stream)
        return array


@dataclass(frozen=True, eq=False)
class _Port:
    """One input or output."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # -1 is dynamic
    host: NDArray[Any]  # pinned, flat, of the largest size
    places: tuple[int, ...]  # addresses on the GPU


class TensorRtEngine:
    """One engine of a bundle; see `esam3_core.runtime.engines.Engine`."""

    def __init__(self, path: Path, device: int = 0) -> None:
        """Load a serialized engine.

        Raises:
            EngineError: TensorRT or the GPU is missing, or the engine was built for another one.
        """
        trt = import_tensorrt()
        self._driver = open_driver(device)
        self._driver.use()
        self._runtime = runtime = trt.Runtime(_log())
        self._engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise EngineError(
                f"{path} cannot be loaded: {_log().reason()}; engines run only on the GPU and with the TensorRT they "
                f"were built with: run `esam3 build {path.parents[2]} --again` on this machine"
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"no memory to run {path}: {_log().reason()}; end other programs")
        self._stream = self._driver.stream()
        self._events = [self._driver.event() for _ in range(SETS)]
        self._turn = 0
        self._runs: dict[tuple[Any, ...], int] = {}  # what was run -> how often, or 0 - its graph
        self._captures = True  # until TensorRT does something that no graph can hold
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self._inputs = {name: self._open_input(trt, name) for name in names if is_input[name]}
        for name, port in self._inputs.items():  # the largest inputs make the largest outputs
            self._context.set_input_shape(name, self._largest(name, port.shape))
        self._outputs = {name: self._open_port(trt, name, SETS) for name in names if not is_input[name]}
        self.inputs = {name: _public(port.shape) for name, port in self._inputs.items()}
        self.outputs = {name: _public(port.shape) for name, port in self._outputs.items()}

    def run(self, feeds: Mapping[str, Any], keep: Collection[str] = ()) -> dict[str, Any]:
        """Run the engine once; see `esam3_core.runtime.engines.Engine`."""
        driver = self._driver
        driver.use()
        self._turn = turn = (self._turn + 1) % SETS
        places = {name: self._feed(self._inputs[name], feeds[name]) for name in self._inputs}
        for name, port in self._outputs.items():
            places[name] = port.places[turn]
        shapes = {name: tuple(feeds[name].shape) for name in self._inputs}
        self._launch(places, shapes)
        driver.record(self._events[turn], self._stream)
        results: dict[str, Any] = {}
        for name, port in self._outputs.items():
            shape = tuple(self._context.get_tensor_shape(name))
            if name in keep:
                results[name] = DeviceArray(port.places[turn], shape, port.dtype, self._events[turn], driver)
            else:
                results[name] = port.host[: int(np.prod(shape))]
                driver.download(results[name], port.places[turn], self._stream)
        if len(keep) < len(self._outputs):
            driver.wait(self._stream)
        return {
            name: value.reshape(tuple(self._context.get_tensor_shape(name))).copy()
            if isinstance(value, np.ndarray)
            else value
            for name, value in results.items()
        }

    def _feed(self, port: _Port, feed: Any) -> int:
        """Bring one input to the GPU; returns where it lies."""
        if isinstance(feed, DeviceArray):
            self._driver.wait_event(self._stream, feed.ready)
            return feed.address
        flat = port.host[: feed.size]
        if feed.size > port.host.size:
            raise EngineError(
                f"input {port.name} {list(feed.shape)} is larger than its engine was built for: lower max_concepts or "
                "max_tracks, or build engines again with `esam3 build --again`"
            )
        # The copy of the frame before may still be read; waiting here costs nothing once its results were taken.
        self._driver.wait(self._stream)
        np.copyto(flat.reshape(feed.shape), feed, casting="same_kind")
        self._driver.upload(port.places[0], flat, self._stream)
        return port.places[0]

    def _launch(self, places: dict[str, int], shapes: dict[str, tuple[int, ...]]) -> None:
        """Put the work into the stream: as one CUDA graph once the same work has come a few times."""
        key = (*places.values(), *shapes.values())
        seen = self._runs.get(key, 0)
        for name, shape in shapes.items():
            self._context.set_input_shape(name, shape)
        if seen < 0:
            self._driver.launch(-seen, self._stream)
            return
        for name, address in places.items():
            self._context.set_tensor_address(name, address)
        if not self._context.execute_async_v3(self._stream):
            raise EngineError(f"TensorRT cannot run an engine: {_log().reason()}")
        self._runs[key] = seen + 1
        if self._captures and seen >= CAPTURE_AFTER and len(self._runs) <= MOST_GRAPHS:
            self._capture(key)

    def _capture(self, key: tuple[Any, ...]) -> None:
        """Note the work that was just done as a CUDA graph; where that fails, work goes on one by one.

        It has to have been done once with these very shapes: TensorRT sets itself up then, which cannot be noted.
        """
        self._driver.begin_capture(self._stream)
        try:
            enqueued = self._context.execute_async_v3(self._stream)
        finally:
            try:
                graph = self._driver.end_capture(self._stream)
            except EngineError as error:
                graph = 0
                logger.warning("no CUDA graph: %s", error)
        if graph and enqueued:
            self._runs[key] = -graph
        else:
            self._captures = False

    def _open_input(self, trt: Any, name: str) -> _Port:
        return self._open_port(trt, name, 1, self._largest(name, tuple(self._engine.get_tensor_shape(name))))

    def _open_port(self, trt: Any, name: str, places: int, largest: tuple[int, ...] | None = None) -> _Port:
        dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
        largest = largest or tuple(self._context.get_tensor_shape(name))
        count = int(np.prod(largest))
        return _Port(
            name, dtype, tuple(self._engine.get_tensor_shape(name)), self._driver.pinned((count,), dtype),
            tuple(self._driver.allocate(count * dtype.itemsize) for _ in range(places)),
        )  # fmt: skip

    def _largest(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape if min(shape, default=0) >= 0 else tuple(self._engine.get_tensor_profile_shape(name, 0)[2])


def open_tensorrt(graph: Path, digest: str, device: int = 0) -> TensorRtEngine:
    """The engine that `esam3 build` made of a graph of a bundle for this machine.

    Raises:
        EngineError: TensorRT, the GPU or the engine is missing; the message names the remedy.
    """
    version = str(import_tensorrt().__version__)
    return TensorRtEngine(find_engine(graph, digest, open_driver(device).gpu(), version), device)


def import_tensorrt() -> Any:
    """TensorRT's module.

    Raises:
        EngineError: it is not installed.
    """
    try:
        import tensorrt
    except (ImportError, OSError) as error:
        raise EngineError(
            f"backend tensorrt needs TensorRT, which cannot be imported ({str(error).splitlines()[0]}): on a Jetson "
            "apt install python3-libnvinfer, or use backend=onnxruntime or auto"
        ) from error
    return tensorrt


@functools.cache
def _log() -> Any:
    trt: Any = import_tensorrt()

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT."""
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.last = " ".join(message.split())
                logger.error("TensorRT: %s", self.last)

        def reason(self) -> str:
            """The last error."""
            return str(self.last or "TensorRT gave no reason")

    return Log()


@functools.cache
def _copy_stream(index: int) -> int:
    return open_driver(index).stream()


def _public(shape: tuple[int, ...]) -> tuple[int | str | None, ...]:
    return tuple(None if side < 0 else side for side in shape)
