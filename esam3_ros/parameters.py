# SPDX-License-Identifier: Apache-2.0
"""ROS parameters from the core's dataclasses: one table gives descriptors, defaults, checks and, by a test, the docs.

A parameter that nobody set keeps the bundle's own value where the bundle has one, and the dataclass default elsewhere.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

ConfigT = TypeVar("ConfigT")


class When(Enum):
    """When a parameter may change."""

    RUNNING = "any time"
    UNCONFIGURED = "while unconfigured"
    START = "at start only"


@dataclass(frozen=True)
class Spec:
    """One ROS parameter: a field of a config dataclass, with what ROS wants to know about it."""

    config: type
    name: str
    description: str
    when: When
    limits: tuple[float, float] | None = None  # inclusive
    choices: tuple[str, ...] = ()

    @property
    def default(self) -> Any:
        return getattr(self.config(), self.name)

    @property
    def type(self) -> Parameter.Type:
        return Parameter.Type.from_parameter_value(self.default)

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(description=self.description, read_only=self.when is When.START)
        descriptor.additional_constraints = f"changes {self.when.value}"
        if self.choices:
            descriptor.additional_constraints += f"; one of {', '.join(self.choices)}"
        if self.limits and self.type is Parameter.Type.DOUBLE:
            low, high = map(float, self.limits)
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
        elif self.limits:
            low_int, high_int = map(int, self.limits)
            descriptor.integer_range = [IntegerRange(from_value=low_int, to_value=high_int, step=1)]
        return descriptor

    def refusal(self, value: Any) -> str:
        """Why a value of the right type and range is not possible; empty if it is."""
        if self.choices and value not in self.choices:
            return f"{self.name} cannot be {value!r}: use one of {', '.join(self.choices)}"
        return ""


class Parameters:
    """The parameters of a node that belong to config dataclasses.

    `problems` holds what was wrong with values given at start: the node keeps the default for these and says so.
    """

    def __init__(self, node: Node, specs: Iterable[Spec]) -> None:
        self._node = node
        self._specs = {spec.name: spec for spec in specs}
        self._given: set[str] = set()  # names that the user set; the bundle does not change these
        self.problems: dict[str, str] = {}
        for spec in self._specs.values():
            self._declare(spec)

    def spec(self, name: str) -> Spec | None:
        return self._specs.get(name)

    def config(self, cls: type[ConfigT], **changes: Any) -> ConfigT:
        """A config dataclass with the values in force; `changes` (of any dataclass) count as if they were set."""
        names = [field.name for field in dataclasses.fields(cls) if field.name in self._specs]  # type: ignore[arg-type]
        values = {name: changes.get(name, self._node.get_parameter(name).value) for name in names}
        return cls(**values)

    def adopt(self, config: Any) -> list[Parameter]:
        """Values of a bundle's config for the parameters that nobody set; to be passed to `set_parameters`."""
        values = {name: getattr(config, name) for name in self._names(config) if name not in self._given}
        return [Parameter(name, self._specs[name].type, value) for name, value in values.items()]

    def refusal(self, parameter: Parameter, configured: bool) -> str:
        """Why a change is not possible; empty if it is (or is none of ours)."""
        spec = self._specs.get(parameter.name)
        if spec is None:
            return ""
        if spec.when is When.UNCONFIGURED and configured:
            return f"{spec.name} is fixed while the node is configured: run `ros2 lifecycle set <node> cleanup` first"
        return spec.refusal(parameter.value)

    def accepted(self, name: str) -> None:
        """Remember that the user set a parameter."""
        self._given.add(name)
        self.problems.pop(name, None)

    def strangers(self, of_others: Iterable[Spec]) -> list[str]:
        """A sentence for each value given at start whose name nobody knows, neither this node nor `of_others`.

        To be called once everything is declared. ROS itself says nothing of a misspelt name in a parameter file.
        """
        given = getattr(self._node, "_parameter_overrides", {})  # rclpy has no public way to ask
        known = {spec.name for spec in of_others}
        unknown = [name for name in given if not (self._node.has_parameter(name) or name in known or "." in name)]
        return [f"nobody has a parameter {name}, its value changes nothing{self._like(name)}" for name in unknown]

    def _like(self, name: str) -> str:
        close = difflib.get_close_matches(name, list(self._node.get_parameters_by_prefix("")), n=1)
        return f": did you mean {close[0]}?" if close else ": docs/interface.md lists all"

    def _names(self, config: Any) -> list[str]:
        return [field.name for field in dataclasses.fields(config) if field.name in self._specs]

    def _declare(self, spec: Spec) -> None:
        try:
            if spec.when is When.START:
                self._declare_fixed(spec)
                return
            # Declared by type alone, a parameter tells afterwards whether the user gave it a value.
            given = self._node.declare_parameter(spec.name, spec.type, spec.descriptor())
            if given.type_ is Parameter.Type.NOT_SET:
                self._node.set_parameters([Parameter(spec.name, spec.type, spec.default)])
            else:
                self._given.add(spec.name)
                if refusal := spec.refusal(given.value):
                    self.problems[spec.name] = refusal
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            self.problems[spec.name] = f"{error}. {spec.name} takes a {spec.type.name.lower()} such as {spec.default!r}"
            self._declare_default(spec)

    def _declare_fixed(self, spec: Spec) -> None:
        # Once it is read-only it can neither be set nor undeclared: it is looked at before that.
        descriptor = spec.descriptor()
        descriptor.read_only = False
        given = self._node.declare_parameter(spec.name, spec.default, descriptor)
        self._node.undeclare_parameter(spec.name)
        if refusal := spec.refusal(given.value):
            self.problems[spec.name] = refusal
            self._declare_default(spec)
        else:
            self._node.declare_parameter(spec.name, spec.default, spec.descriptor())

    def _declare_default(self, spec: Spec) -> None:
        self._node.declare_parameter(spec.name, spec.default, spec.descriptor(), ignore_override=True)
