# SPDX-License-Identifier: Apache-2.0
"""Lets a worker thread run something on the executor thread, where rclpy futures and parameters belong."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from rclpy.node import Node


class ExecutorQueue:
    """Actions left by any thread, run by the executor that spins the node."""

    def __init__(self, node: Node) -> None:
        self._actions: deque[Callable[[], None]] = deque()
        self._lock = threading.Lock()
        self._guard = node.create_guard_condition(self._run)

    def put(self, action: Callable[[], None]) -> None:
        """Run `action` on the executor thread soon, and wake that if it sleeps."""
        with self._lock:
            self._actions.append(action)
        self._guard.trigger()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._actions:
                    return
                action = self._actions.popleft()
            action()
