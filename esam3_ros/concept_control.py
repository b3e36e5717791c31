# SPDX-License-Identifier: Apache-2.0
"""Changing concepts while running: service, topic and parameter meet here, and nowhere else.

All three set the parameter `concepts`; its check makes a `Change`, which the worker puts in force between two frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.task import Future

from esam3_core.runtime import ConceptError, normalise_all

NAME = "concepts"
HINT = "give noun phrases such as ['cup', 'red mug']"


@dataclass(eq=False)
class Change:
    """One set of concepts on its way into force; `future` is done when it is, or when `error` says why not."""

    concepts: tuple[str, ...]
    version: int
    keep_tracks: bool = True
    action: Callable[[], Iterable[str]] | None = None  # makes the change, and returns the concepts it led to
    error: str = ""
    future: Future = field(default_factory=Future)


class ConceptControl:
    """Owns the concept set, its version, and the parameter. Belongs to the executor thread.

    `version` and `concepts` are those in force. `problem` says why the last request was refused, empty if it was not.
    """

    def __init__(self, node: Node, limit: Callable[[], int]) -> None:
        """`limit` gives the largest number of concepts."""
        self.version = 0
        self.concepts: tuple[str, ...] = ()
        self.problem = ""
        self._node = node
        self._limit = limit
        self._apply: Callable[[Change], None] | None = None
        self._newest = Change((), 0)
        self._unsettled: list[Change] = []
        self._keep_tracks = True

    def attach(self, apply: Callable[[Change], None]) -> None:
        """From now on `apply` puts changes in force and then calls `settle`; it starts with the newest set."""
        self._apply = apply
        self._begin(Change(self._newest.concepts, max(1, self._newest.version)))

    def detach(self) -> None:
        """Nobody puts changes in force any more; whoever waits for one, not only for the newest, is told so."""
        self._apply = None
        self.concepts = ()
        for change in self._unsettled:
            change.error = "the node was cleaned up before the concepts were in force: configure it again"
            change.future.set_result(None)
        self._unsettled.clear()

    def check(self, value: Any) -> str:
        """Take a new value of the parameter: why it is refused, or empty once the change is on its way."""
        try:
            concepts = parse(value, self._limit())
        except ConceptError as error:
            self.problem = str(error)
            return self.problem
        self.problem = ""
        # Nobody knows yet what an action on its way will lead to: equal to what was before it is not equal to that.
        pending = self._newest.action is not None and not self._newest.future.done()
        if pending or concepts != self._newest.concepts or not self._keep_tracks:
            self._begin(Change(concepts, self._newest.version + 1, self._keep_tracks))
        return ""

    def request(self, concepts: Iterable[str], keep_tracks: bool = True) -> tuple[str, Change]:
        """Ask for other concepts: why not (or empty), and the change to wait for."""
        self._keep_tracks = keep_tracks
        try:
            wanted = Parameter(NAME, Parameter.Type.STRING_ARRAY, list(concepts))
            result = self._node.set_parameters([wanted])[0]
        finally:
            self._keep_tracks = True
        return ("" if result.successful else result.reason), self._newest

    def perform(self, action: Callable[[], Iterable[str]]) -> Change:
        """Let `action`, which changes what is searched for, run between two frames; the change to wait for."""
        change = Change(self._newest.concepts, self._newest.version + 1, action=action)
        if self._apply is None:
            change.error = "the node is not configured"
            change.future.set_result(None)
            return change
        self._begin(change)
        return change

    def settle(self, change: Change, error: str = "") -> None:
        """A change is in force, or failed for the reason `error`."""
        if change.future.done():
            return
        self._unsettled.remove(change)
        change.error = error
        change.future.set_result(None)  # before the parameter is set, whose check asks whether the change is pending
        if error:
            self._fall_back(change)
            self.problem = error
        else:
            self.version, self.concepts = change.version, change.concepts
            if change.action is not None and self._newest is change:
                self._tell(change.concepts)

    def _begin(self, change: Change) -> None:
        self._newest = change
        if self._apply is not None:
            self._unsettled.append(change)
            self._apply(change)

    def _fall_back(self, failed: Change) -> None:
        """The parameter must tell what is in force, not what failed; a version is not used twice."""
        if self._newest is failed:
            self._newest = Change(self.concepts, failed.version)
            self._newest.future.set_result(None)
            self._tell(self.concepts)

    def _tell(self, concepts: tuple[str, ...]) -> None:
        self._node.set_parameters([Parameter(NAME, Parameter.Type.STRING_ARRAY, list(concepts))])


def parse(value: Any, limit: int) -> tuple[str, ...]:
    """Concepts of a parameter value: a list of text, or text with commas; an empty list means none.

    Raises:
        ConceptError: it is not text, a concept is empty or too long, or there are more than `limit`.
    """
    if isinstance(value, str):
        value = value.split(",")
    if value is None or isinstance(value, (bool, int, float)) or not isinstance(value, Iterable):
        raise ConceptError(f"concepts cannot be {value!r}: {HINT}")
    concepts = normalise_all(list(value))
    if len(concepts) > limit:
        raise ConceptError(f"{len(concepts)} concepts, at most {limit} at once: give fewer, or raise max_concepts")
    return concepts
