# SPDX-License-Identifier: Apache-2.0
"""Tracks carry the exact stamps of images, though the core counts in seconds as a float."""

from __future__ import annotations

import pytest
from builtin_interfaces.msg import Time

from esam3_ros.conversions import seconds
from esam3_ros.publishers import MOST, Stamps

START = 1_700_000_000  # s: at this time a float is good for 0.2 microseconds only


def film(rate: int, length: float, start: int = START) -> list[Time]:
    """Exact stamps of a camera."""
    nanoseconds = [123 + index * 10**9 // rate for index in range(int(length * rate))]
    return [Time(sec=start + one // 10**9, nanosec=one % 10**9) for one in nanoseconds]


def seen(stamps: Stamps, film: list[Time], age: float, kept: tuple[float, ...] = ()) -> None:
    """Frames come, one after the other."""
    for stamp in film:
        stamps.add(stamp)
        stamps.keep([seconds(stamp), *kept], age)


@pytest.mark.parametrize("rate", [2, 15, 50, 120])
@pytest.mark.parametrize("age", [0.0, 3.0, 20.0])
def test_the_stamps_of_the_last_seconds_are_exact_at_any_rate(rate, age):
    stamps, frames = Stamps(), film(rate, 60)
    seen(stamps, frames, age)
    for stamp in frames[-int(age * rate) - 1 :]:
        assert stamps.find(seconds(stamp)) == stamp


def test_what_a_track_refers_to_stays_exact_and_other_old_ones_go():
    stamps, frames = Stamps(), film(30, 120)
    first = seconds(frames[0])
    seen(stamps, frames, 3.0, kept=(first,))
    assert stamps.find(first) == frames[0]
    assert len(stamps._known) < 1000
    rounded = stamps.find(seconds(frames[1]))
    assert rounded != frames[1] and abs(seconds(rounded) - seconds(frames[1])) < 1e-6


def test_a_bag_that_loops_keeps_those_of_its_newest_frames():
    stamps, lap = Stamps(), film(30, 20)
    for _ in range(3):
        seen(stamps, lap, 3.0)
    seen(stamps, lap[:150], 3.0)
    assert all(stamps.find(seconds(stamp)) == stamp for stamp in lap[60:150])


def test_there_is_an_end_to_how_many_are_kept():
    stamps = Stamps()
    seen(stamps, film(100, 5 * MOST / 100), age=86_400.0)
    assert len(stamps._known) <= 2 * MOST
