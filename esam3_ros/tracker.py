# SPDX-License-Identifier: Apache-2.0
"""The tracker node: images in, instance masks of concepts with stable ids out. A lifecycle node.

The executor thread receives and answers; one worker thread tracks and publishes (`Processor`). They share a one-slot
mailbox, so a slow frame drops older input instead of queueing it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.parameter import Parameter

import esam3_core
from esam3_core.config import DetectorConfig, NodeConfig, RuntimeConfig, TrackerConfig
from esam3_core.runtime import Esam3Error
from esam3_ros.commands import Commands
from esam3_ros.complaints import Complaints
from esam3_ros.concept_control import NAME as CONCEPTS
from esam3_ros.concept_control import ConceptControl
from esam3_ros.core_log import CoreLog
from esam3_ros.executor_queue import ExecutorQueue
from esam3_ros.mailbox import Worker
from esam3_ros.memory_commands import MemoryCommands
from esam3_ros.parameters import Parameters
from esam3_ros.processor import Frame, Processor, Settings
from esam3_ros.publishers import TrackPublishers
from esam3_ros.qos import FOREVER, ImageSubscription
from esam3_ros.reporter import Reporter
from esam3_ros.run import run_node
from esam3_ros.specs import CAMERA, OVERLAY, TRACKER
from esam3_ros.stats import Stats

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
WATCH_PERIOD = 0.5  # s between looks at the publishers of the image topic
WORKER_PATIENCE = 5.0  # s that a transition waits for the frame in hand
Transition = Callable[["TrackerNode", Any], TransitionCallbackReturn]


def guarded(transition: Transition) -> Transition:
    """Log what a transition raises, which rclpy would swallow, and undo what it began.

    A failed configure or activate leaves the node in the state before it; any other goes through `on_error`.
    """

    @wraps(transition)
    def run(node: TrackerNode, state: Any) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception as error:
            remedied = isinstance(error, Esam3Error)  # their message says all that a user needs
            node.report_problem(str(error) if remedied else f"{error}\n{traceback.format_exc()}")
            return node.undo(transition.__name__, state)

    return run


class TrackerNode(LifecycleNode):
    """See docs/interface.md for topics, services and parameters."""

    def __init__(self, **options: Any) -> None:
        super().__init__("tracker", **options)
        self.state = "unconfigured"
        self.problem = ""
        self.stats = Stats()
        self.subscription: ImageSubscription | None = None
        self.processor: Processor | None = None
        self.worker: Worker[Frame] | None = None
        self._publishers_made: TrackPublishers | None = None
        self._commands: tuple[Commands, MemoryCommands] | None = None
        self._queue = ExecutorQueue(self)
        self._core_log = CoreLog(self.get_logger())
        self._complaints = Complaints(self.get_logger())
        self._adopting = False
        self.parameters = Parameters(self, TRACKER)
        self.control = ConceptControl(self, lambda: int(self.get_parameter("max_concepts").value))
        self._declare_concepts()
        for stranger in self.parameters.strangers((*OVERLAY, *CAMERA)):  # one file may be for all three
            self.get_logger().warning(stranger)
        self.add_on_set_parameters_callback(self._on_parameters)
        config = self.parameters.config(NodeConfig)
        # Neither may stop when simulated time does.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.reporter = Reporter(self, self._complaints)
        self.create_timer(config.diagnostic_period, self.reporter.publish, clock=steady)
        self.create_timer(WATCH_PERIOD, self._watch, clock=steady)
        if config.autostart:
            self._autostart = self.create_timer(0.0, self._start, clock=steady)

    @guarded
    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        """Load the bundle, warm it up, make publishers and services."""
        self.problem = ""
        if self.parameters.problems:
            self.report_problem(" | ".join(self.parameters.problems.values()))
            return self.undo("on_configure", state)
        started = time.monotonic()
        bundle = str(self.get_parameter("bundle").value)
        student = esam3_core.load(bundle, self.parameters.config(RuntimeConfig))
        self._adopt(student.bundle.detector, student.bundle.tracker)
        student.warm_up(tracker=self._settings().tracker)
        self._publishers_made = TrackPublishers(self)
        self.processor = Processor(
            student, self._settings(), self._publishers_made, self.stats, self._complaints, self._now
        )
        self.worker = Worker(self.processor.work, self._worker_failed, "tracker")
        self.reporter.describe_model(student)
        told = self, self.control, self._queue, self.processor, self.worker
        self._commands = Commands(*told, student.doubt), MemoryCommands(*told)
        self.state = "inactive"
        knows = ", ".join(student.concepts) or "any phrase"
        self.get_logger().info(
            f"bundle {student.bundle.name} loaded in {time.monotonic() - started:.1f} s; it knows: {knows}"
        )
        return SUCCESS

    @guarded
    def on_activate(self, state: Any) -> TransitionCallbackReturn:
        """Start to listen and to publish."""
        self.problem = ""
        super().on_activate(state)
        config = self.parameters.config(NodeConfig)
        self.stats.start()
        self.reporter.heard()
        self.subscription = ImageSubscription(
            self, config.image_transport, config.image_reliability, 1, self._on_image, self.reporter.incompatible
        )
        self.state = "active"
        self.get_logger().info(f"listening to {self.subscription.topic} ({self.subscription.reliability})")
        return SUCCESS

    @guarded
    def on_deactivate(self, state: Any) -> TransitionCallbackReturn:
        """Stop listening, forget tracks; the bundle stays loaded."""
        self._unsubscribe()
        if self.worker is not None and self.processor is not None:
            processor = self.processor
            self.worker.mailbox.forget_frame()
            self.worker.run(lambda: processor.end_stream("the node was deactivated"), WORKER_PATIENCE)
        self.state = "inactive"
        return super().on_deactivate(state)

    @guarded
    def on_cleanup(self, state: Any) -> TransitionCallbackReturn:
        """Drop the bundle and everything that configure made."""
        self._release()
        return SUCCESS

    @guarded
    def on_shutdown(self, state: Any) -> TransitionCallbackReturn:
        """Drop everything from any state."""
        self._release()
        self.state = "finalized"
        return SUCCESS

    @guarded
    def on_error(self, state: Any) -> TransitionCallbackReturn:
        """Back to unconfigured, so that the node can be configured again."""
        self._release()
        return SUCCESS

    def report_problem(self, problem: str) -> None:
        """Log why a transition failed and show it in the diagnostics."""
        self.problem = problem
        self.get_logger().error(problem)

    def undo(self, transition: str, state: Any) -> TransitionCallbackReturn:
        """Take back what a failed transition made; what rclpy shall be told of it."""
        if transition == "on_activate":
            self._unsubscribe()
            super().on_deactivate(state)
            return FAILURE
        self._release()
        return FAILURE if transition == "on_configure" else TransitionCallbackReturn.ERROR

    def close(self) -> None:
        """End the worker; call it before the node is destroyed."""
        self._release()
        self._core_log.close()

    def _start(self) -> None:
        self.destroy_timer(self._autostart)
        if self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def _release(self) -> None:
        self._unsubscribe()
        for commands in self._commands or ():
            commands.destroy()
        if self.worker is not None and not self.worker.stop(WORKER_PATIENCE):
            self.get_logger().error("the worker is still busy with a frame; it ends after it")
        if self._publishers_made is not None:
            self._publishers_made.destroy()
        self.worker = self.processor = self._publishers_made = self._commands = None
        self.state = "unconfigured"

    def _unsubscribe(self) -> None:
        if self.subscription is not None:
            self.subscription.destroy()
            self.subscription = None

    def _on_image(self, message: Any) -> None:
        self.stats.arrived()
        self.reporter.heard()
        if self.worker is not None and self.worker.mailbox.put(Frame(message, time.monotonic())):
            self.stats.count("dropped")

    def _worker_failed(self, error: Exception) -> None:
        if self.processor is not None and self.context.ok():
            self.processor.failed(error)

    def _watch(self) -> None:
        if self.subscription is None:
            return
        if self.subscription.check() and self.subscription.publishers():
            self.get_logger().info(f"{self.subscription.topic}: changed over to {self.subscription.reliability}")
        silent_for = self.stats.snapshot().silent_for
        self.reporter.silent = self.subscription.why_silent() if silent_for > FOREVER else ""
        if self.reporter.silent:
            self._complaints.warn(self.reporter.silent)

    def _declare_concepts(self) -> None:
        # Dynamically typed, so that a single text is as good as a list, and a number gets an explanation.
        descriptor = ParameterDescriptor(
            description="what to look for: a list of noun phrases, or one text with commas; empty = idle",
            additional_constraints="changes any time; at most max_concepts, each up to 64 characters",
            dynamic_typing=True,
        )
        given = self.declare_parameter(CONCEPTS, [], descriptor).value
        if problem := self.control.check(given):
            self.get_logger().error(f"{problem}. The node idles until it gets concepts")

    def _on_parameters(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        reason = self._refusal(parameters)
        if reason:
            self.get_logger().error(f"refused: {reason}")
            return SetParametersResult(successful=False, reason=reason)
        changes = {parameter.name: parameter.value for parameter in parameters}
        if not self._adopting:
            for name in changes:
                self.parameters.accepted(name)
        if self.processor is not None:
            self.processor.settings = self._settings(**changes)
        return SetParametersResult(successful=True)

    def _refusal(self, parameters: Sequence[Parameter]) -> str:
        for parameter in parameters:
            if reason := self.parameters.refusal(parameter, configured=self.state != "unconfigured"):
                return reason
        try:
            self._settings(**{parameter.name: parameter.value for parameter in parameters})
        except ValueError as error:
            return str(error)
        # Last, because a concept that passes its check is on its way.
        wanted = [parameter.value for parameter in parameters if parameter.name == CONCEPTS]
        return self.control.check(wanted[-1]) if wanted else ""

    def _settings(self, **changes: Any) -> Settings:
        config = self.parameters.config
        return Settings(
            config(NodeConfig, **changes), config(DetectorConfig, **changes), config(TrackerConfig, **changes)
        )

    def _adopt(self, *configs: Any) -> None:
        self._adopting = True
        try:
            for config in configs:
                self.set_parameters(self.parameters.adopt(config))
        finally:
            self._adopting = False

    def _now(self) -> float:
        return float(self.get_clock().now().nanoseconds * 1e-9)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the executable `tracker`."""
    run_node(TrackerNode, arguments)


if __name__ == "__main__":
    main()
