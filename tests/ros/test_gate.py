# SPDX-License-Identifier: Apache-2.0
"""Which frames are processed, by stamp and age."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.config import NodeConfig
from esam3_ros.gate import Gate


def admitted(rate_in: float, max_rate: float, jitter: float = 0.0, seconds: float = 4.0) -> float:
    """Frames admitted per second of a stream."""
    rng = np.random.default_rng(0)
    gate, config = Gate(), NodeConfig(max_rate=max_rate)
    stamps = np.arange(0, seconds, 1 / rate_in) + 1000
    stamps = stamps + rng.uniform(-jitter, jitter, stamps.size) / rate_in
    return sum(not gate.admit(stamp, stamp + 0.01, 0.01, config).refused for stamp in stamps) / seconds


@pytest.mark.parametrize(
    ("rate_in", "max_rate", "expected"),
    [
        (30, 0, 30),  # no limit
        (30, 30, 30),  # the limit of the camera itself drops nothing
        (30, 15, 15),
        (30, 10, 10),
        (30, 20, 20),  # two of three
        (10, 30, 10),  # slower than the limit
    ],
)
@pytest.mark.parametrize("jitter", [0.0, 0.1])
def test_max_rate_limits_the_mean_rate_and_jitter_does_not_lower_it(rate_in, max_rate, expected, jitter):
    assert admitted(rate_in, max_rate, jitter) == pytest.approx(expected, rel=0.06)


def test_old_frames_are_stale_unless_the_limit_is_zero():
    old = (1000.0, 1002.0, 0.0)
    assert Gate().admit(*old, NodeConfig(max_frame_age=0.5)).refused == "stale"
    assert not Gate().admit(*old, NodeConfig(max_frame_age=0.0)).refused


@pytest.mark.parametrize("stamp", [0.0, 5.0, 1e9 + 3600])  # none, robot uptime, from the future
def test_stamps_of_another_clock_say_nothing_about_age(stamp):
    admission = Gate().admit(stamp, 1e9, 0.01, NodeConfig(max_frame_age=0.5))
    assert not admission.refused and not admission.same_clock
    assert admission.stamp == (stamp or 1e9 - 0.01)


def test_frames_that_waited_too_long_are_stale_by_any_clock():
    assert Gate().admit(5.0, 1e9, 2.0, NodeConfig(max_frame_age=0.5)).refused == "stale"


def test_a_stamp_that_goes_back_is_due_at_once():
    gate, config = Gate(), NodeConfig(max_rate=1.0, max_frame_age=0.0)
    assert not gate.admit(1000.0, 1000.0, 0.0, config).refused
    assert gate.admit(1000.5, 1000.5, 0.0, config).refused == "rate"
    assert not gate.admit(990.0, 1000.6, 0.0, config).refused


def test_a_stamp_that_goes_back_is_due_again_even_if_that_first_frame_was_refused():
    gate, config = Gate(), NodeConfig(max_rate=10.0, max_frame_age=0.5)
    lap = [1000 + index / 30 for index in range(300)]

    def admitted(stamps):
        return sum(not gate.admit(stamp, stamp + 0.02, 0.01, config).refused for stamp in stamps)

    first = admitted(lap)
    # A bag loops: its first image comes before /clock has jumped back, and looks ten seconds old.
    assert gate.admit(lap[0], lap[-1] + 0.02, 0.01, config).refused == "stale"
    assert admitted(lap[1:]) == pytest.approx(first, abs=1)


def test_images_without_a_stamp_never_go_back_while_the_clock_advances_in_steps():
    """The node's clock stands still for 25 ms at a time, while a frame waits for 0 to 20 ms."""
    gate, rng = Gate(), np.random.default_rng(0)
    clock = np.floor(np.arange(0, 4, 1 / 30) / 0.025) * 0.025 + 1000
    stamps = [gate.admit(0.0, now, rng.uniform(0, 0.02), NodeConfig()).stamp for now in clock]
    assert (np.diff(stamps) >= 0).all()
    assert gate.admit(0.0, 900.0, 0.0, NodeConfig()).stamp == 900.0  # the simulation was reset
