# SPDX-License-Identifier: Apache-2.0
"""Spinning a node on a thread of its own, and ending that without a race."""

from __future__ import annotations

import contextlib
import threading

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

LOOK = 1.0  # s at most between two looks at whether to go on; `stop` does not wait for it


class Spinner:
    """Spins a node from construction until `stop`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spin", daemon=True)
        self._thread.start()

    def stop(self, patience: float = 2.0) -> None:
        """Wait up to `patience` seconds for the callback in hand, if there is one; the node is left as it is."""
        # Only then the executor is shut down: `spin` may still be using what `shutdown` takes away.
        self._stopping.set()
        self._executor.wake()
        self._thread.join(patience)
        self._executor.shutdown(timeout_sec=patience)

    def _run(self) -> None:
        with contextlib.suppress(ExternalShutdownException):
            while not self._stopping.is_set() and self.node.context.ok():
                self._executor.spin_once(LOOK)
