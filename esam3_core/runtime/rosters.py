# SPDX-License-Identifier: Apache-2.0
"""Which kind of roster a tracker gets: one that remembers, or one that links detections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from esam3_core.config import STRIDES, TrackerConfig
from esam3_core.runtime.memory import MemoryBank, MemoryShape
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
    return MemoryRoster(config, student.memory, memory_shape(student))


def warm_up_memory(student: Student, features: Mapping[str, Any]) -> None:
    """Run every engine of memory on the features of any frame."""
    bank = MemoryBank(memory_shape(student), 1)
    engines, key = student.memory, bank.open()
    logits = np.zeros((1, engines.side, engines.side), np.float32)
    bank.write(key, engines.memorise(features, logits, np.ones(1, np.float32), [True])[0])
    engines.propagate(features, bank, [key])
    engines.propagate(features, bank, [key], expected={key: (0.5, 0.5, 0.5, 0.5)})
    engines.point(features, bank, [key], logits)


def memory_shape(student: Student) -> MemoryShape:
    """The sizes of what a track of this student remembers."""
    sizes = student.bundle.student
    return MemoryShape.of(sizes.memory, sizes.size, sizes.width, STRIDES[sizes.neck])


def wants_memory(student: Student, config: TrackerConfig) -> bool:
    """Whether `config` means memory for this student."""
    return config.tracker == "memory" or (config.tracker == "auto" and student.bundle.has_memory)
