# SPDX-License-Identifier: Apache-2.0
"""What the camera node shows: a scene world with its truth, a video, a folder of images, or a bag."""

from __future__ import annotations

import itertools
import queue
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from esam3_core.config import CameraConfig
from esam3_core.runtime import SourceError
from esam3_core.runtime.sources import ImagesSource, Source, open_source
from esam3_ros.conversions import Array

SCENE = "scene"
JPEG_QUALITY = 97  # of stored frames


@dataclass(frozen=True)
class CameraFrame:
    """One picture on its way out; all but `image` may be unknown."""

    image: Array  # uint8 RGB [H, W, 3]
    index: int  # of the frame in its source
    depth: Array | None = None  # float32 [H, W], m
    ids: Array | None = None  # uint16 [H, W], 0 = no instance
    intrinsics: dict[str, float] = field(default_factory=dict)  # fx, fy, cx, cy in pixels
    instances: list[dict[str, Any]] | None = None  # id, kind, phrases, box, visible (0..1), area


@dataclass(frozen=True)
class StoredFrame:
    """A frame of a scene in little memory: hundreds are kept. Its picture passes through JPEG, as many cameras' do."""

    jpeg: Array
    ids: bytes
    rest: CameraFrame  # without pictures

    @classmethod
    def of(cls, frame: CameraFrame) -> StoredFrame:
        bgr = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        ids = zlib.compress(np.ascontiguousarray(frame.ids).tobytes(), 1)
        return cls(jpeg, ids, replace(frame, image=np.empty(0), depth=None, ids=None))

    def frame(self) -> CameraFrame:
        bgr = cv2.imdecode(self.jpeg, cv2.IMREAD_COLOR)
        assert bgr is not None  # we made the JPEG
        ids = np.frombuffer(zlib.decompress(self.ids), np.uint16).reshape(bgr.shape[:2])
        return replace(self.rest, image=cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), ids=ids)


class CameraSource:
    """Iterate over it to get one pass through the source, thinned out to `rate` frames per second of its own time."""

    def __init__(self, config: CameraConfig) -> None:
        """Open the source.

        Raises:
            SourceError: it is missing or of no known kind.
        """
        self._config = config
        self._clip: list[StoredFrame] = []
        self._source: Source | None = None
        self.rate = config.rate
        if config.source != SCENE:
            self._source = open_source(config.source, config.topic or None)
            # A folder of images has no time of its own; of anything faster, only as many frames as asked for are shown.
            self._every_frame = isinstance(self._source, ImagesSource)
            self.rate = config.rate if self._every_frame else min(config.rate, self._source.rate)

    def __iter__(self) -> Iterator[CameraFrame]:
        if self._source is not None:
            return self._recorded(self._source)
        return self._stored() if self._config.clip else self._live()

    def _live(self) -> Iterator[CameraFrame]:
        config = self._config
        try:
            from esam3_core.scenes import World, demo_config  # MuJoCo: only simulation needs it

            world = World(config.seed, demo_config(config.width, config.height, config.rate))
        except ModuleNotFoundError as error:
            remedy = f"run `{sys.executable} -m pip install 'mujoco>=3.3.7'`, or show a video: source:=video.mp4"
            raise SourceError(f"the scene needs {error.name}, which is not installed: {remedy}") from error
        except OSError as error:  # no OpenGL
            raise SourceError(f"the scene cannot be drawn: {error}") from error
        for index in itertools.count():
            frame = world.step()
            instances = [asdict(instance) for instance in frame.instances]
            yield CameraFrame(frame.image, index, frame.depth, frame.ids, frame.intrinsics, instances)

    def _stored(self) -> Iterator[CameraFrame]:
        if not self._clip:
            self._clip = [StoredFrame.of(frame) for frame in itertools.islice(self._live(), self._config.clip)]
        return (stored.frame() for stored in self._clip)

    def _recorded(self, source: Source) -> Iterator[CameraFrame]:
        start: float | None = None
        shown = 0
        for index, stamp, image in source:
            start = stamp if start is None else start
            # Half a period early is the nearest frame there is.
            if not self._every_frame and stamp - start < (shown - 0.5) / self.rate:
                continue
            shown += 1
            yield CameraFrame(image, index)


class Prefetch:
    """Makes frames on a thread of its own, a few ahead, so that whoever shows them can keep the beat."""

    def __init__(self, source: CameraSource, loop: bool, ahead: int = 4) -> None:
        self._source = source
        self._loop = loop
        self._frames: queue.Queue[CameraFrame | Exception | None] = queue.Queue(ahead)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="render", daemon=True)
        self._thread.start()

    def take(self) -> CameraFrame | None:
        """The next frame; None at the end.

        Raises:
            Exception: what the source raised.
        """
        frame = self._frames.get()
        if isinstance(frame, Exception):
            raise frame
        return frame

    def stop(self) -> None:
        """End the thread; `take` returns None."""
        self._stopping.set()
        while self._thread.is_alive():
            self._empty()
            self._thread.join(0.05)
        self._empty()
        self._frames.put(None)

    def _empty(self) -> None:
        while not self._frames.empty():
            self._frames.get_nowait()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for frame in self._source:
                    self._frames.put(frame)
                    if self._stopping.is_set():
                        return
                if not self._loop:
                    break
            self._frames.put(None)
        except Exception as error:
            self._frames.put(error)
