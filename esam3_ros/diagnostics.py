# SPDX-License-Identifier: Apache-2.0
"""The tracker node's health on /diagnostics, in the shape that aggregators expect."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from esam3_core.config import NodeConfig
from esam3_ros.processor import TrackCounts
from esam3_ros.qos import FOREVER
from esam3_ros.stats import Snapshot

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE
RECENT = 10.0  # s for which an error or a warning keeps its status from being green
DROPS = ("processed", "dropped", "stale", "rate", "bad", "failed")


@dataclass(frozen=True)
class Health:
    """Everything that the diagnostics tell, gathered by the node."""

    state: str  # unconfigured, inactive, active
    problem: str  # why the node could not be configured; empty if nothing is wrong
    config: NodeConfig
    snapshot: Snapshot
    tracks: TrackCounts
    version: int
    concepts: list[str]
    concept_problem: str  # why the last change of concepts was refused; empty if it was not
    topic: str
    reliability: str
    publishers: list[str]
    silent: str  # why no frame comes, in words; empty while frames come
    incompatible: str  # the last incompatible publisher, in words
    worker_alive: bool
    model: Mapping[str, str]


def diagnose(name: str, stamp: Any, health: Health) -> DiagnosticArray:
    """The diagnostics of the node `name` at `stamp`."""
    message = DiagnosticArray()
    message.header.stamp = stamp
    message.status = [
        _status(name, part, *describe(health))
        for part, describe in (
            ("input", _input),
            ("inference", _inference),
            ("tracks", _tracks),
            ("model", _model),
        )
    ]
    return message


def _status(name: str, part: str, level: bytes, text: str, values: Mapping[str, Any]) -> DiagnosticStatus:
    return DiagnosticStatus(
        level=level,
        name=f"{name}: {part}",
        message=text,
        hardware_id=platform.node(),
        values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
    )


def _input(health: Health) -> tuple[bytes, str, dict[str, Any]]:
    snapshot = health.snapshot
    values = {
        "topic": health.topic,
        "reliability": health.reliability,
        "publishers": ", ".join(health.publishers) or "none",
        "rate (Hz)": f"{snapshot.input_rate:.1f}",
        "last frame (s ago)": f"{snapshot.silent_for:.2f}",
        **{name: snapshot.counts.get(name, 0) for name in DROPS},
        "last error": snapshot.last_error or "none",
        "last warning": snapshot.last_warning or "none",
    }
    if health.state != "active":
        return STALE, f"not listening: the node is {health.state}", values
    if health.incompatible:
        return ERROR, health.incompatible, values
    if health.silent:
        return WARN, health.silent, values
    if snapshot.last_error and snapshot.error_age < RECENT:
        return ERROR, snapshot.last_error.splitlines()[0], values
    if snapshot.silent_for > FOREVER:
        return WARN, f"no frame for {snapshot.silent_for:.0f} s", values
    if snapshot.last_warning and snapshot.warning_age < RECENT:
        return WARN, snapshot.last_warning, values
    return OK, f"{snapshot.input_rate:.1f} Hz", values


def _inference(health: Health) -> tuple[bytes, str, dict[str, Any]]:
    snapshot, config = health.snapshot, health.config
    values = {"rate (Hz)": f"{snapshot.rate:.1f}", "worker": "alive" if health.worker_alive else "not running"}
    for stage, both in {**snapshot.stages, **({"age": snapshot.age} if snapshot.age else {})}.items():
        values[f"{stage} p50 (ms)"], values[f"{stage} p95 (ms)"] = f"{both[0]:.1f}", f"{both[1]:.1f}"
    if health.state != "active":
        return STALE, f"not running: the node is {health.state}", values
    if not health.worker_alive:
        return ERROR, "the worker has ended: cycle the node (deactivate, cleanup, configure, activate)", values
    if snapshot.age is None:
        return OK, "nothing to do yet", values
    text = f"{snapshot.rate:.1f} Hz, age p50 {snapshot.age[0]:.0f} ms, p95 {snapshot.age[1]:.0f} ms"
    if config.latency_warn and snapshot.age[1] > config.latency_warn * 1e3:
        return WARN, f"{text}, above latency_warn ({config.latency_warn:g} s): lower max_rate or the image size", values
    return OK, text, values


def _tracks(health: Health) -> tuple[bytes, str, dict[str, Any]]:
    tracks = health.tracks
    values = {
        "alive": tracks.alive,
        "occluded": tracks.occluded,
        "births": tracks.born,
        "deaths": tracks.forgotten,
        "resets": tracks.resets,
        "concept_version": health.version,
        "concepts": ", ".join(health.concepts) or "none",
    }
    if health.concept_problem:
        return WARN, health.concept_problem, values
    if health.state == "active" and not health.concepts:
        return WARN, "idle: no concept is set; use the parameter concepts, ~/concept or ~/set_concepts", values
    return OK, f"{tracks.alive} tracks, {tracks.occluded} occluded", values


def _model(health: Health) -> tuple[bytes, str, dict[str, Any]]:
    if health.problem:
        return ERROR, health.problem.splitlines()[0], dict(health.model)
    if health.state == "unconfigured":
        return STALE, "no bundle is loaded: configure the node", dict(health.model)
    return OK, health.model.get("bundle", ""), dict(health.model)
