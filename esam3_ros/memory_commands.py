# SPDX-License-Identifier: Apache-2.0
"""What can be shown to a configured tracker node, and how its memory is saved and loaded: services."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rclpy.node import Node

from esam3_core.runtime import Esam3Error, Exemplar, MemoryFileError
from esam3_ros import masks
from esam3_ros.concept_control import ConceptControl
from esam3_ros.executor_queue import ExecutorQueue
from esam3_ros.mailbox import Worker
from esam3_ros.processor import Frame, Processor
from esam3_ros.services import Services
from esam3_ros.srv import AddExemplar, AddObject, MemoryFile, RemoveObject


class MemoryCommands:
    """`~/add_exemplar`, `~/add_object`, `~/remove_object`, `~/save_memory`, `~/load_memory`, until `destroy`.

    Handlers run on the executor thread; what they ask for happens on the worker, between two frames.
    """

    def __init__(
        self, node: Node, control: ConceptControl, queue: ExecutorQueue, processor: Processor, worker: Worker[Frame]
    ) -> None:
        self._node = node
        self._control = control
        self._processor = processor
        self.services = Services(node, queue, worker)
        for kind, name, handler in (
            (AddExemplar, "~/add_exemplar", self._on_add_exemplar),
            (AddObject, "~/add_object", self._on_add_object),
            (RemoveObject, "~/remove_object", self._on_remove_object),
            (MemoryFile, "~/save_memory", self._on_save),
            (MemoryFile, "~/load_memory", self._on_load),
        ):
            self.services.add(kind, name, self._guarded(name, handler))

    def destroy(self) -> None:
        """Take the services down; whoever still waits gets an answer."""
        self.services.destroy()

    async def _on_add_exemplar(self, request: Any, response: Any) -> None:
        exemplars = [Exemplar(_box(roi), True, request.concept) for roi in request.positive]
        exemplars += [Exemplar(_box(roi), False, request.concept) for roi in request.negative]
        shown: list[str] = []

        def show() -> list[str]:
            names, concepts = self._processor.add_exemplars(request.stamp, exemplars)
            shown.extend(names)
            return concepts

        change = self._control.perform(show)
        await change.future
        response.version = self._control.version
        if change.error:
            raise Esam3Error(change.error)
        response.concept, response.version = shown[0], change.version
        response.message = f"searching for what is like the {len(exemplars)} exemplars of {shown[0]}"

    async def _on_add_object(self, request: Any, response: Any) -> None:
        points = [(point.x, point.y, 1) for point in request.positive]
        points += [(point.x, point.y, 0) for point in request.negative]
        box = _box(request.roi) if request.roi.width else None

        def add() -> int:
            image = self._processor.image(request.stamp)
            height, width = image.picture.shape[:2]
            mask = masks.unpack(request.mask, height, width) if len(request.mask.data) else None
            return self._processor.add_object(image, box, points, mask, request.concept)

        response.id = await self.services.on_worker(add)
        response.message = f"following {request.concept or 'it'} as track {response.id}"

    async def _on_remove_object(self, request: Any, response: Any) -> None:
        await self.services.on_worker(lambda: self._processor.remove_object(request.id))
        response.message = f"forgot track {request.id}"

    async def _on_save(self, request: Any, response: Any) -> None:
        path = _path(request.path)
        response.tracks = await self.services.on_worker(lambda: self._processor.save(path))
        response.message = f"saved {response.tracks} tracks to {path}"

    async def _on_load(self, request: Any, response: Any) -> None:
        path = _path(request.path)
        loaded: list[int] = []

        def load() -> list[str]:
            count, concepts = self._processor.load(path)
            loaded.append(count)
            return concepts

        change = self._control.perform(load)
        await change.future
        if change.error:
            raise Esam3Error(change.error)
        response.tracks = loaded[0]
        response.message = f"loaded {loaded[0]} tracks from {path}"

    def _guarded(self, name: str, handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        """A handler whose errors become the reply: no request ends the node."""

        async def answer(request: Any, response: Any) -> Any:
            try:
                await handler(request, response)
            except ValueError as error:  # Esam3Error among them
                response.success, response.message = False, str(error)
                self._node.get_logger().error(f"{name} refused: {error}")
            except Exception as error:
                response.success, response.message = False, f"{type(error).__name__}: {error}"
                self._node.get_logger().error(f"{name} failed: {type(error).__name__}: {error}")
            else:
                response.success = True
                self._node.get_logger().info(response.message)
            return response

        return answer


def _box(roi: Any) -> tuple[float, float, float, float]:
    return float(roi.x_offset), float(roi.y_offset), float(roi.width), float(roi.height)


def _path(text: str) -> Path:
    if not text.strip():
        raise MemoryFileError("the path is empty: name a file, such as ~/kitchen.safetensors")
    return Path(text.strip()).expanduser()
