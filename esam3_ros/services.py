# SPDX-License-Identifier: Apache-2.0
"""Services whose handlers wait for the worker, and their end: whoever still waits then gets an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.task import Future

from esam3_core.runtime import Esam3Error
from esam3_ros.executor_queue import ExecutorQueue
from esam3_ros.mailbox import Worker
from esam3_ros.processor import Frame

CLEANED_UP = "the node was cleaned up before it could answer: configure it again, then ask again"
ResultT = TypeVar("ResultT")
Handler = Callable[[Any, Any], Awaitable[Any]]


class Services:
    """Some services of a node, from construction until `destroy`. Belongs to the executor thread."""

    def __init__(self, node: Node, queue: ExecutorQueue, worker: Worker[Frame]) -> None:
        self._node = node
        self._queue = queue
        self._worker = worker
        # A group of their own: a handler that awaits the worker would otherwise block every other callback.
        self._group = ReentrantCallbackGroup()
        self._services: list[Any] = []
        self._unanswered = 0
        self._pending: set[Future] = set()
        self._closing = False

    @property
    def unanswered(self) -> int:
        """Requests whose handlers still wait."""
        return self._unanswered

    def add(self, kind: type, name: str, handler: Handler) -> None:
        """Offer a service; its response has `success` and `message`."""
        service = self._node.create_service(kind, name, self._counted(handler), callback_group=self._group)
        self._services.append(service)

    async def on_worker(self, action: Callable[[], ResultT]) -> ResultT:
        """What `action` returns or raises on the worker, between two frames.

        Raises:
            Esam3Error: the services were destroyed before it did.
        """
        # Holds a result and an error: an exception that nobody comes to fetch, at the end, would be complained about.
        done = Future()
        self._pending.add(done)

        def act() -> None:
            outcome: tuple[Any, Exception | None]
            try:
                outcome = action(), None
            except Exception as error:
                outcome = None, error
            self._queue.put(lambda: self._settle(done, outcome))

        self._worker.mailbox.order(act)
        result, error = await done
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def destroy(self) -> None:
        """Fail what is pending, and take the services down once their handlers have answered."""
        self._closing = True
        for done in list(self._pending):
            self._settle(done, (None, Esam3Error(CLEANED_UP)))
        if not self._unanswered:
            self._take_down()

    def _settle(self, done: Future, outcome: tuple[Any, Exception | None]) -> None:
        self._pending.discard(done)
        if not done.done():
            done.set_result(outcome)

    def _counted(self, handler: Handler) -> Handler:
        async def answer(request: Any, response: Any) -> Any:
            if self._closing:  # a request that came while others were being answered
                response.success, response.message = False, CLEANED_UP
                return response
            self._unanswered += 1
            try:
                return await handler(request, response)
            finally:
                self._unanswered -= 1
                if self._closing and not self._unanswered:
                    self._queue.put(self._take_down)  # later: rclpy sends the response after this

        return answer

    def _take_down(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)
        self._services.clear()
