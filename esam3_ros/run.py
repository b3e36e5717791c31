# SPDX-License-Identifier: Apache-2.0
"""Spinning a node as a process: one executor thread, a clean end on Ctrl-C and SIGTERM, no death by exception."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import uninstall_signal_handlers


def run_node(create: Callable[[], Node], arguments: Sequence[str] | None = None) -> None:
    """Create a node, spin it until the process is asked to stop, and take it down.

    A node may have a `close()` method, which ends its threads; it is called before the node is destroyed.
    """
    node, begun = None, False
    try:
        rclpy.init(args=None if arguments is None else list(arguments))
        begun = True
        node = create()
        spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok() or not begun:
            raise  # else Ctrl-C ended the context below a call that needed it
    finally:
        # Ends rclpy's signal thread, which may still be waking what is taken down here: a crash, or a wait for ever.
        uninstall_signal_handlers()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave threads half closed
        if node is not None:
            getattr(node, "close", lambda: None)()
            node.destroy_node()
        if rclpy.ok():
            rclpy.shutdown()


def spin(node: Node) -> None:
    """Spin a node on this thread until its context ends; an exception in a callback is logged and the node goes on."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    try:
        while node.context.ok():
            try:
                executor.spin()
            except (KeyboardInterrupt, ExternalShutdownException):
                raise
            except Exception:
                if not node.context.ok():
                    return  # Ctrl-C ended the context below the callback
                node.get_logger().error(f"a callback failed, the node goes on:\n{traceback.format_exc()}")
    finally:
        uninstall_signal_handlers()  # as in `run_node`: the executor is the first that is taken down
        executor.shutdown(timeout_sec=1.0)
