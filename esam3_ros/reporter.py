# SPDX-License-Identifier: Apache-2.0
"""Gathers the health of a tracker node and publishes it."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticArray

import esam3_core
from esam3_core.config import NodeConfig
from esam3_core.runtime import Student
from esam3_core.runtime.engines import choose_backend
from esam3_ros.complaints import Complaints
from esam3_ros.diagnostics import Health, diagnose
from esam3_ros.processor import TrackCounts
from esam3_ros.qos import DIAGNOSTICS

if TYPE_CHECKING:
    from esam3_ros.tracker import TrackerNode


class Reporter:
    """Publishes /diagnostics; `silent` says why no frame comes, empty while they come."""

    def __init__(self, node: TrackerNode, complaints: Complaints) -> None:
        self.silent = ""
        self._incompatible = ""
        self._node = node
        self._complaints = complaints
        self._model: dict[str, str] = {}
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", DIAGNOSTICS)

    def incompatible(self, problem: str) -> None:
        """A publisher's quality of service does not match ours."""
        self._incompatible = problem
        self._complaints.error(problem)

    def heard(self) -> None:
        """A frame came, or listening starts: whatever was wrong with the input is over."""
        self.silent = self._incompatible = ""

    def describe_model(self, student: Student) -> None:
        """Remember what is loaded."""
        bundle = student.bundle
        size = bundle.student.size
        self._model = {
            "bundle": bundle.name,
            "folder": str(bundle.folder),
            "licence": bundle.licence or "not stated",
            "variant": bundle.student.variant,
            "input size (pixels)": f"{size} x {size}",
            "concepts": ", ".join(student.concepts),
            **{f"{name} sha256": digest[:16] for name, digest in bundle.digests.items()},
            "memory": bundle.student.memory.kind if bundle.has_memory else "none",
            "backend": _backend(student),
            "device": student.config.device,
            "esam3": esam3_core.__version__,
            "onnxruntime": _version("onnxruntime"),
            "numpy": _version("numpy"),
            "python": platform.python_version(),
        }

    def publish(self) -> None:
        """Publish the health of this moment."""
        node = self._node
        stamp = node.get_clock().now().to_msg()
        name = node.get_fully_qualified_name().lstrip("/")  # several cameras differ in their namespace only
        self._publisher.publish(diagnose(name, stamp, self._health()))

    def _health(self) -> Health:
        node, control = self._node, self._node.control
        health = Health(
            state=node.state,
            problem=node.problem,
            config=node.parameters.config(NodeConfig),
            snapshot=node.stats.snapshot(),
            tracks=node.processor.tracks if node.processor else TrackCounts(),
            version=control.version,
            concepts=list(control.concepts),
            concept_problem=control.problem,
            topic=node.resolve_topic_name("image"),
            reliability="none",
            publishers=[],
            silent=self.silent,
            incompatible=self._incompatible,
            worker_alive=node.worker is not None and node.worker.alive,
            model=self._model,
        )
        if node.subscription is None:
            return health
        return replace(
            health,
            topic=node.subscription.topic,
            reliability=node.subscription.reliability,
            publishers=node.subscription.publishers(),
        )


def _backend(student: Student) -> str:
    """What runs the engines and, if TensorRT was wished for and is not it, why."""
    choice = choose_backend(student.bundle.folder, student.config)
    return f"{choice.backend}, not tensorrt: {choice.reason}" if choice.reason else choice.backend


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
