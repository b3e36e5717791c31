# SPDX-License-Identifier: Apache-2.0
"""Which kind of roster a tracker gets: one that remembers, or one that links detections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from esam3_core.config import TrackerConfig
from esam3_core.runtime.memory import MemoryShape
from esam3_core.runtime.memory_roster import MemoryRoster
from esam3_core.runtime.roster import Roster

if TYPE_CHECKING:
    from esam3_core.runtime.student import Student


def make_roster(student: Student, config: TrackerConfig) -> Roster:
    """The roster that `config.tracker` asks for; "auto" takes memory where the bundle has one.

    Raises:
        BundleError: memory is asked for, and the bundle has none.
    """
    if not wants_memory(student, config):
        return Roster(config)
    sizes = student.bundle.student
    return MemoryRoster(config, student.memory, MemoryShape.of(sizes.memory, sizes.size, sizes.width))


def wants_memory(student: Student, config: TrackerConfig) -> bool:
    """Whether `config` means memory for this student."""
    return config.tracker == "memory" or (config.tracker == "auto" and student.bundle.has_memory)
