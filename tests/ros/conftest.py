# SPDX-License-Identifier: Apache-2.0
"""A ROS graph of its own for each test: real nodes, real topics, one namespace per test.

No test may depend on how fast the machine is. Whoever needs a frame to be seen shows pictures until it was
(`show_until`); whoever needs each frame to count shows a `Film`, one picture after the result of the one before.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esam3_ros.isolation import isolate

os.environ.pop("ROS_DOMAIN_ID", None)
isolate()
rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not here: `make setup` installs it")

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from esam3_ros.msg import TrackArray  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from esam3_ros.conversions import seconds, to_image  # noqa: E402
from esam3_ros.mailbox import Worker  # noqa: E402
from esam3_ros.spinner import Spinner  # noqa: E402
from esam3_ros.tracker import TrackerNode  # noqa: E402
from tests.colour_bundle import draw_blobs, write_colour_bundle  # noqa: E402

PATIENCE = 120.0  # s: far more than anything takes, so that a busy machine fails no test
EVERY = QoSProfile(depth=1000)  # a queue that a test thread which is not let run for seconds does not overflow
ROSOUT = QoSProfile(depth=1000, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_numbers = itertools.count()


def wait_for(condition: Callable[[], Any], what: str = "", patience: float = PATIENCE) -> Any:
    """Wait until `condition` gives something true, and return it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.01)
    raise AssertionError(f"waited {patience:g} s in vain for {what or condition}")


class Graph:
    """Nodes of one test, each spun by its own thread, and a probe node that talks to them."""

    def __init__(self) -> None:
        self.namespace = f"/test{os.getpid()}_{next(_numbers)}"
        self._spinning: list[Spinner] = []
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.log: list[str] = []
        self.probe = Node("probe", namespace=self.namespace)
        self.probe.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.subscribe("/rosout", _rosout_type(), self._on_log, ROSOUT)
        self._cameras: dict[str, Any] = {}
        self.spin(self.probe)

    def spin(self, node: Any) -> Any:
        """Spin a node until the test ends."""
        self._spinning.append(Spinner(node))
        return node

    def start(self, make: Callable[..., Any], **parameters: Any) -> Any:
        """Create a node with parameters and spin it."""
        overrides = [_parameter(name, value) for name, value in parameters.items()]
        return self.spin(make(namespace=self.namespace, parameter_overrides=overrides))

    def stop(self, node: Any) -> None:
        """Stop spinning a node and destroy it."""
        for spinner in [spinner for spinner in self._spinning if spinner.node is node]:
            spinner.stop(PATIENCE)
            getattr(node, "close", lambda: None)()
            node.destroy_node()
            self._spinning.remove(spinner)

    def close(self) -> None:
        for node in [spinner.node for spinner in reversed(self._spinning)]:
            self.stop(node)

    def subscribe(self, topic: str, kind: type, callback: Callable[[Any], None], profile: Any = EVERY) -> Any:
        return self.probe.create_subscription(kind, topic, callback, profile)

    def collect(self, topic: str, kind: type, profile: Any = EVERY) -> list[Any]:
        """A list that grows with every message on a topic."""
        messages: list[Any] = []
        self.subscribe(topic, kind, messages.append, profile)
        return messages

    def ask(self, service: str, kind: type, request: Any) -> Any:
        """Call a service; the future of its answer."""
        client = self.probe.create_client(kind, service)
        assert client.wait_for_service(PATIENCE), f"no service {service}"
        return client.call_async(request)

    def call(self, service: str, kind: type, request: Any) -> Any:
        """Call a service and wait for its answer."""
        future = self.ask(service, kind, request)
        return wait_for(lambda: future.result() if future.done() else None, f"the answer of {service}")

    def transition(self, name: str) -> bool:
        """Ask the tracker for a lifecycle transition, as `ros2 lifecycle set` does; whether it succeeded."""
        request = ChangeState.Request(transition=Transition(label=name))
        return bool(self.call("tracker/change_state", ChangeState, request).success)

    def stamp(self) -> Time:
        """Now, by the probe's clock."""
        return self.probe.get_clock().now().to_msg()

    def camera(self, topic: str = "image", reliability: str = "reliable", kind: type = Image) -> Any:
        """A publisher of images."""
        key = f"{topic} {reliability} {kind}"
        if key not in self._cameras:
            profile = QoSProfile(depth=5, reliability=ReliabilityPolicy[reliability.upper()])
            self._cameras[key] = self.probe.create_publisher(kind, topic, profile)
        return self._cameras[key]

    def show(self, picture: np.ndarray | None = None, stamp: Time | None = None, **options: Any) -> Image:
        """Publish an RGB picture (red and blue blobs by default) and return the message."""
        picture = blobs() if picture is None else picture
        message = to_image(picture, "rgb8", Header(stamp=stamp or self.stamp(), frame_id="camera"))
        self.camera(**options).publish(message)
        return message

    def show_until(
        self, condition: Callable[[], Any], what: str = "", patience: float = PATIENCE, **options: Any
    ) -> Any:
        """Publish pictures at about 30 Hz until something is true."""

        def step() -> Any:
            self.show(**options)
            time.sleep(0.03)
            return condition()

        return wait_for(step, what, patience)

    def status(self, part: str) -> DiagnosticStatus:
        """The newest diagnostics of the tracker's `part`; an empty one before the first."""
        return self.diagnostics.get(f"{self.namespace.strip('/')}/tracker: {part}", DiagnosticStatus())

    def warns(self, part: str, words: str) -> bool:
        """Whether the tracker's `part` is at WARN with these words."""
        status = self.status(part)
        return status.level == DiagnosticStatus.WARN and words in status.message

    def still_tracks(self, results: list[TrackArray]) -> bool:
        """Good frames after bad input are processed as ever."""
        from_now = time_of(self.stamp())
        return bool(
            self.show_until(
                lambda: any(message.tracks and time_of(message.header.stamp) >= from_now for message in results),
                "tracks after bad input",
            )
        )

    def complained(self, *words: str) -> bool:
        """Whether one warning or error in the log has all these words."""
        return any(all(word in line for word in words) for line in self.log)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})

    def _on_log(self, message: Any) -> None:
        if message.level >= 30 and self.namespace.strip("/") in message.name:
            self.log.append(message.msg)


class Film:
    """Shows a tracker node one picture after the other, each after the result of the one before.

    Image time is the film's own, `PERIOD` per picture however long that took. So no frame is dropped, and what comes
    out depends on the pictures alone. The node must not drop old frames, and must listen with a fixed reliability.
    """

    PERIOD = 1 / 15  # s of image time

    def __init__(self, graph: Graph, node: TrackerNode, results: list[TrackArray]) -> None:
        assert not node.problem, node.problem
        config = node.processor.settings.node
        assert config.max_frame_age == 0 and config.image_reliability == "reliable"
        self.node = node
        self._graph = graph
        self._results = results
        graph.show_until(lambda: results, "the first result", picture=draw_blobs([]))  # from here on none is lost
        self._time = seconds(graph.stamp())

    def show(self, picture: np.ndarray | None = None, times: int = 1) -> TrackArray:
        """Show a picture (red and blue blobs by default), several times if you like; the last result."""
        for _ in range(times):
            self._time += self.PERIOD
            result = self.show_at(self._time, picture)
        return result

    def show_at(self, time: float, picture: np.ndarray | None = None) -> TrackArray:
        """Show a picture with a stamp in seconds, after which the film goes on."""
        self._time = time
        stamp = Time(sec=int(time), nanosec=int(time % 1 * 1e9))
        seen = len(self._results)
        self._graph.show(picture, stamp)
        return wait_for(
            lambda: next((one for one in self._results[seen:] if one.header.stamp == stamp), None), "a frame's result"
        )


@contextmanager
def held(worker: Worker[Any]) -> Iterator[None]:
    """Keeps a worker busy, as a long frame does: what is asked of it meanwhile waits."""
    go_on = threading.Event()
    worker.mailbox.order(lambda: go_on.wait(PATIENCE))
    try:
        yield
    finally:
        go_on.set()


def time_of(stamp: Time) -> tuple[int, int]:
    """Stamps in their order."""
    return stamp.sec, stamp.nanosec


def blobs() -> np.ndarray:
    """A red and a blue disc, far apart."""
    return draw_blobs([("red", 160, 120, 50), ("blue", 450, 330, 60)])


def _parameter(name: str, value: Any) -> Parameter:
    return Parameter(name, Parameter.Type.STRING_ARRAY, value) if value == [] else Parameter(name, value=value)


def _rosout_type() -> type:
    from rcl_interfaces.msg import Log

    return Log


@pytest.fixture(scope="session", autouse=True)
def _ros() -> Iterator[None]:
    rclpy.init()
    yield
    rclpy.shutdown()


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that finds blobs of a named colour."""
    return write_colour_bundle(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture
def tracker(graph: Graph, colours: Path) -> Callable[..., TrackerNode]:
    """Starts a tracker node with the colour bundle and waits until it is active, with its first concepts in force."""

    def start(**parameters: Any) -> TrackerNode:
        given = {"bundle": str(colours), "concepts": ["red"], "diagnostic_period": 0.2, "threads": 1}
        given |= {"max_frame_age": 0.0} | parameters  # frames are late on a busy machine
        node = graph.start(TrackerNode, **given)
        if given.get("autostart", True):
            ready = "the tracker to start"
            wait_for(lambda: (node.state == "active" and node.control.version) or node.problem, ready)
        return node

    return start


@pytest.fixture
def results(graph: Graph) -> list[TrackArray]:
    """Every TrackArray that the tracker publishes."""
    return graph.collect("tracker/tracks", TrackArray)


@pytest.fixture
def film(graph: Graph, tracker: Callable[..., TrackerNode], results: list[TrackArray]) -> Callable[..., Film]:
    """Starts a tracker node to which pictures are shown one by one."""

    def start(**parameters: Any) -> Film:
        return Film(graph, tracker(image_reliability="reliable", **parameters), results)

    return start
