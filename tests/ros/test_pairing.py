# SPDX-License-Identifier: Apache-2.0
"""Messages of one image find each other by their exact stamp, whatever their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from esam3_ros.pairing import Pairing


@given(st.permutations([(kind, stamp) for kind in "abc" for stamp in range(4)]))
def test_every_stamp_is_completed_once_in_any_order(arrivals):
    pairing = Pairing(("a", "b", "c"), history=10)
    complete = [group for kind, stamp in arrivals if (group := pairing.add(kind, (stamp, 0), (kind, stamp)))]
    assert sorted(group["a"][1] for group in complete) == [0, 1, 2, 3]
    assert all(len({stamp for _, stamp in group.values()}) == 1 for group in complete)


def test_messages_that_wait_too_long_are_forgotten():
    pairing = Pairing(("a", "b"), history=3)
    for stamp in range(10):
        pairing.add("a", (stamp, 0), stamp)
    assert pairing.add("b", (2, 0), "late") is None
    assert pairing.add("b", (9, 0), "in time") == {"a": 9, "b": "in time"}


def test_nanoseconds_count():
    pairing = Pairing(("a", "b"), history=3)
    pairing.add("a", (1, 5), "a")
    assert pairing.add("b", (1, 6), "b") is None
