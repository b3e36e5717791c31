# SPDX-License-Identifier: Apache-2.0
"""A node as a process: it survives what its callbacks raise, and ends without a word when it is asked to."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import rclpy
from rclpy.node import Node

from esam3_ros.run import spin


class Clumsy(Node):
    """Raises in its first callback, and in the second ends its context as Ctrl-C does, below a call that needs it."""

    def __init__(self, context: Any) -> None:
        super().__init__("clumsy", context=context)
        self.calls = 0
        self.create_timer(0.01, self._tick)

    def _tick(self) -> None:
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError("the first time")
        self.context.shutdown()
        self.get_publishers_info_by_topic("image")


STOPPED = """
import rclpy
from rclpy.node import Node
from esam3_ros.run import run_node

def create():
    rclpy.shutdown()  # as Ctrl-C does, on a thread of rclpy's
    return Node("late")

run_node(create, {arguments})
"""


@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["--ros-args", "--no-such-flag"], 1)])
def test_ctrl_c_while_the_node_is_made_is_no_error_but_errors_are(arguments, status):
    done = subprocess.run([sys.executable, "-c", STOPPED.format(arguments=arguments)], capture_output=True, text=True)
    assert done.returncode == status and ("Traceback" in done.stderr) == bool(status), done.stderr


@pytest.fixture
def node():
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = Clumsy(context)
    yield node
    node.destroy_node()
    context.try_shutdown()


def test_an_exception_is_logged_and_the_node_goes_on_but_the_end_is_no_exception(node, capfd):
    spin(node)
    assert node.calls == 2
    log = capfd.readouterr().err
    assert log.count("a callback failed, the node goes on") == 1 and "ZeroDivisionError: the first time" in log
    assert "RCLError" not in log
