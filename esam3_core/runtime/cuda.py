# SPDX-License-Identifier: Apache-2.0
"""The few calls of NVIDIA's driver that engines need: memory, copies, streams, graphs.

Straight to libcuda by ctypes: it comes with every driver, its interface does not change with the CUDA version, and a
robot needs no further package.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.errors import EngineError

LIBRARY = "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
NON_BLOCKING = 1  # a stream that does not wait for the default one
RELAXED = 2  # CUstreamCaptureMode: other threads may go on
NO_TIMING = 2  # CUevent_flags


@dataclass(frozen=True)
class Gpu:
    """What an engine was built for."""

    name: str
    capability: str  # such as "8.7"
    cuda: str  # newest CUDA version of the driver, such as "12.6"
    memory: int  # bytes; on a Jetson, shared with the CPU


class Driver:
    """One GPU, ready for use by the calling thread."""

    def __init__(self, index: int = 0) -> None:
        """Take the primary context of a GPU, the one that TensorRT uses.

        Raises:
            EngineError: there is no driver or no such GPU.
        """
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise EngineError(
                "this machine has no NVIDIA driver (libcuda.so.1 is missing): use device=cpu, or on a Jetson start the "
                "container with --runtime nvidia"
            ) from error
        self._call("cuInit", 0)
        count = ctypes.c_int()
        self._call("cuDeviceGetCount", ctypes.byref(count))
        if index >= count.value:
            raise EngineError(f"there is no GPU {index}, this machine has {count.value}: use device=cpu or cuda:0")
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), index)
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.use()
        self.index = index

    def use(self) -> None:
        """Make the GPU current in the calling thread; needed once per thread, cheap when repeated."""
        self._call("cuCtxSetCurrent", self._context)

    def gpu(self) -> Gpu:
        """Name, capability, CUDA version, memory."""
        name = ctypes.create_string_buffer(128)
        self._call("cuDeviceGetName", name, len(name), self._device)
        parts = []
        for attribute in (CAPABILITY_MAJOR, CAPABILITY_MINOR):
            value = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
            parts.append(str(value.value))
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return Gpu(name.value.decode(errors="replace"), ".".join(parts), cuda, self.memory()[1])

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def allocate(self, size: int) -> int:
        """Address of `size` new bytes on the GPU."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def free(self, address: int) -> None:
        """Give bytes of `allocate` back."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array that the GPU can read and write by itself; it lives as long as the process."""
        size = max(int(np.prod(shape)) * np.dtype(dtype).itemsize, 1)
        address = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(address), ctypes.c_size_t(size), 0)
        assert address.value is not None
        block = (ctypes.c_uint8 * size).from_address(address.value)
        return np.frombuffer(block, np.uint8, size)[: int(np.prod(shape)) * np.dtype(dtype).itemsize].view(
            dtype
        ).reshape(shape)

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Copy an array to the GPU, in the order of `stream`."""
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), _pointer(array), _size(array), _handle(stream))

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Copy from the GPU to an array, in the order of `stream`."""
        self._call("cuMemcpyDtoHAsync_v2", _pointer(array), ctypes.c_uint64(address), _size(array), _handle(stream))

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy between two places on the GPU, in the order of `stream`."""
        self._call(
            "cuMemcpyDtoDAsync_v2", ctypes.c_uint64(target), ctypes.c_uint64(source), ctypes.c_size_t(size),
            _handle(stream),
        )  # fmt: skip

    def stream(self) -> int:
        """A new stream, which no other one waits for."""
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), NON_BLOCKING)
        return stream.value or 0

    def wait(self, stream: int) -> None:
        """Wait until everything in `stream` is done."""
        self._call("cuStreamSynchronize", _handle(stream))

    def event(self) -> int:
        """A new event."""
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), NO_TIMING)
        return event.value or 0

    def record(self, event: int, stream: int) -> None:
        """Let `event` happen when `stream` gets to this point."""
        self._call("cuEventRecord", _handle(event), _handle(stream))

    def wait_event(self, stream: int, event: int) -> None:
        """Let `stream` go on only when `event` has happened; the CPU does not wait."""
        self._call("cuStreamWaitEvent", _handle(stream), _handle(event), 0)

    def begin_capture(self, stream: int) -> None:
        """From here on, note what is put into `stream` instead of doing it."""
        self._call("cuStreamBeginCapture_v2", _handle(stream), RELAXED)

    def end_capture(self, stream: int) -> int:
        """The noted work as something that can be launched at once."""
        graph, launchable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamEndCapture", _handle(stream), ctypes.byref(graph))
        self._call("cuGraphInstantiateWithFlags", ctypes.byref(launchable), graph, ctypes.c_ulonglong(0))
        self._call("cuGraphDestroy", graph)
        return launchable.value or 0

    def launch(self, launchable: int, stream: int) -> None:
        """Do the noted work again."""
        self._call("cuGraphLaunch", _handle(launchable), _handle(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(status, ctypes.byref(text))
            reason = (text.value or b"unknown error").decode()
            raise EngineError(f"the NVIDIA driver refuses {name}: {reason} (error {status}); {_remedy(status)}")


@functools.cache
def open_driver(index: int = 0) -> Driver:
    """The driver of one GPU, opened once per process."""
    return Driver(index)


def _remedy(status: int) -> str:
    if status == 2:
        return "the GPU's memory is full: end other programs, or lower max_tracks and max_concepts"
    if status in (100, 101):
        return "no GPU is visible here: use device=cpu, or give the container access to the GPU"
    return "restart the node; if it comes again, `esam3 doctor` says what to look at"


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _size(array: NDArray[Any]) -> ctypes.c_size_t:
    return ctypes.c_size_t(array.nbytes)


def _handle(value: int) -> ctypes.c_void_p:
    return ctypes.c_void_p(value)
