# SPDX-License-Identifier: Apache-2.0
"""What a configured tracker node can be told: other concepts by service or topic, and to forget its tracks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from esam3_core.runtime import Esam3Error
from esam3_ros.concept_control import Change, ConceptControl
from esam3_ros.executor_queue import ExecutorQueue
from esam3_ros.mailbox import Worker
from esam3_ros.processor import Frame, Processor
from esam3_ros.qos import RESULT
from esam3_ros.services import Services
from esam3_ros.srv import SetConcepts


class Commands:
    """`~/set_concepts`, `~/concept` and `~/reset`, from construction until `destroy`.

    Handlers run on the executor thread; what they ask for happens on the worker, between two frames.
    """

    def __init__(
        self,
        node: Node,
        control: ConceptControl,
        queue: ExecutorQueue,
        processor: Processor,
        worker: Worker[Frame],
        doubt: Callable[[Iterable[str]], str],
    ) -> None:
        """`doubt` tells why what is found for some concepts means little; see `Student.doubt`."""
        self._node = node
        self._control = control
        self._queue = queue
        self._processor = processor
        self._worker = worker
        self._doubt = doubt
        self.services = Services(node, queue, worker)
        self.services.add(SetConcepts, "~/set_concepts", self._on_set_concepts)
        self.services.add(Trigger, "~/reset", self._on_reset)
        self._topic = node.create_subscription(String, "~/concept", self._on_concept, RESULT)
        control.attach(self._apply)

    def destroy(self) -> None:
        """Take services and topic down; whoever still waits gets an answer."""
        self._control.detach()
        self.services.destroy()
        self._node.destroy_subscription(self._topic)

    def _apply(self, change: Change) -> None:
        def apply() -> None:
            error = ""
            try:
                if change.action is not None:
                    change.concepts = self._processor.search(change.action, change.version)
                else:
                    self._processor.set_concepts(change.concepts, change.version, change.keep_tracks)
            except Esam3Error as failure:
                error = str(failure)
            except Exception as failure:
                error = f"the concepts could not be put in force: {failure}"
                raise
            finally:
                self._queue.put(lambda: self._settle(change, error))

        self._worker.mailbox.order(apply)

    def _settle(self, change: Change, error: str) -> None:
        if change.future.done():
            return  # the node was cleaned up meanwhile, and whoever waited knows
        self._control.settle(change, error)
        if error:
            self._node.get_logger().error(error)
            return
        self._node.get_logger().info(f"{self._describe(change)} (version {change.version})")
        if change.action is None and (doubt := self._doubt(change.concepts)):  # what was shown needs no name
            self._node.get_logger().warning(doubt)

    async def _on_set_concepts(self, request: Any, response: Any) -> Any:
        refusal, change = self._control.request(request.concepts, request.keep_tracks)
        if not refusal:
            await change.future
            refusal = change.error
        response.success = not refusal
        response.message = refusal or "; ".join(filter(None, (self._describe(change), self._doubt(change.concepts))))
        response.version = self._control.version if refusal else change.version
        return response

    def _on_concept(self, message: String) -> None:
        self._control.request(message.data.split(","))  # a refusal is logged where the parameter is refused

    async def _on_reset(self, request: Any, response: Any) -> Any:
        try:
            count = await self.services.on_worker(lambda: self._processor.forget("~/reset was called"))
        except Exception as error:
            response.success, response.message = False, str(error)
            self._node.get_logger().error(f"~/reset failed: {error}")
        else:
            response.success, response.message = True, f"forgot {count} tracks; ids go on upward"
        return response

    def _describe(self, change: Change) -> str:
        if not change.concepts:
            return "no concept: idle, every frame gets an empty TrackArray"
        return f"searching for {', '.join(change.concepts)}"
