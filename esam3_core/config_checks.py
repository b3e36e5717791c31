# SPDX-License-Identifier: Apache-2.0
"""What every configuration asks of its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def check_ranges(config: Any, **ranges: tuple[float, float]) -> None:
    """Refuse fields outside of their (low, high), ends included; an infinite high is none.

    Raises:
        ValueError: for the first one; the message names it.
    """
    for name, (low, high) in ranges.items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            must = f"be at least {low}" if high == math.inf else f"lie in {low}..{high}"
            raise ValueError(f"{name} is {value!r}: it must {must}")


def check_least(config: Any, low: int, *names: str) -> None:
    """Refuse fields below `low`; errors as in `check_ranges`."""
    check_ranges(config, **dict.fromkeys(names, (low, math.inf)))


def check_above_zero(config: Any, *names: str) -> None:
    """Refuse fields that are not above 0; errors as in `check_ranges`."""
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ValueError(f"{name} is {value!r}: it must be above 0")


def check_weights(sources: Sequence[Any]) -> None:
    """Refuse data sets of which none would ever be drawn; errors as in `check_ranges`."""
    if sources and not any(source.weight for source in sources):
        raise ValueError("the weight of every source is 0, so nothing is ever drawn: give one of them a weight above 0")


def check_side(side: int, multiple: int, name: str = "size") -> None:
    """Refuse a side in pixels that maps do not divide; errors as in `check_ranges`."""
    if side < multiple or side % multiple:
        raise ValueError(f"{name} is {side}: it must be a multiple of {multiple}, such as {10 * multiple}")


def check_steps(config: Any) -> None:
    """Refuse a schedule of training that cannot be kept; errors as in `check_ranges`. For the runs of all stages."""
    check_least(config, 1, "steps")
    check_least(config, 0, "warmup", "decay", "weight_decay", "checkpoint_every", "seed")
    check_above_zero(config, "rate", "clip")
    check_ranges(config, average=(0, 1))
