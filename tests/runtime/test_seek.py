# SPDX-License-Identifier: Apache-2.0
"""A shown object that memory lost is looked for by its look: it comes back far away, and nothing else takes its id."""

from __future__ import annotations

import pytest

from esam3_core.config import TrackerConfig
from esam3_core.runtime.seek import EVERY, HIDDEN
from tests.colour_bundle import disc, draw_blobs

DT = 1 / 15
SHOWN, FAR = ("red", 100, 120, 45), ("red", 540, 360, 45)
BLUE = ("blue", 540, 360, 45)


@pytest.fixture
def tracker(remembering):
    """It was shown a red disc and looks for nothing else; the disc is out of sight since then."""
    tracker = remembering.track((), TrackerConfig())
    tracker.add(draw_blobs([SHOWN]), 0.0, mask=disc(*SHOWN[1:]))
    tracker.step(draw_blobs([SHOWN]), 0.0)
    return tracker


def steps(tracker, seconds, *blobs, start=DT):
    """Tracks of the last of the frames that show some blobs for some seconds."""
    count = round(seconds / DT)
    return [tracker.step(draw_blobs(list(blobs)), start + i * DT) for i in range(count)][-1]


def test_it_comes_back_far_from_where_it_was(tracker):
    (hidden,) = steps(tracker, 1.0)
    assert hidden.state == "occluded"
    (back,) = steps(tracker, 0.3, FAR, start=1.1)
    assert (back.id, back.state) == (hidden.id, "tracked")
    assert (back.mask == disc(*FAR[1:])).mean() > 0.98


def test_memory_goes_on_from_there(tracker, looks):
    steps(tracker, 1.0)
    steps(tracker, 0.3, FAR, start=1.1)
    runs = len(looks)
    (track,) = steps(tracker, 0.5, ("red", 520, 340, 45), start=1.5)
    assert track.state == "tracked" and len(looks) == runs


def test_what_looks_otherwise_is_not_it(tracker):
    steps(tracker, 1.0)
    (track,) = steps(tracker, 0.5, BLUE, start=1.1)
    assert track.state == "occluded"


def test_a_look_alike_that_is_followed_itself_is_not_it(tracker):
    steps(tracker, 1.0)
    twin = tracker.add(draw_blobs([FAR]), 1.1, mask=disc(*FAR[1:]))
    tracks = steps(tracker, 0.5, FAR, start=1.1)
    assert {track.id: track.state for track in tracks} == {twin.id - 1: "occluded", twin.id: "tracked"}


def test_nobody_is_looked_for_while_seen_or_hidden_for_a_moment(tracker, looks):
    steps(tracker, 1.0, SHOWN)
    steps(tracker, HIDDEN - 2 * DT, start=1.1)
    assert looks == []


def test_looking_costs_a_detector_run_now_and_then(tracker, looks):
    steps(tracker, 2.0)
    assert 0 < len(looks) <= (2.0 - HIDDEN) / EVERY + 1
    assert len(looks) < 2.0 / DT / 2 + 1


def test_where_nothing_was_shown_nothing_is_looked_for(remembering, looks):
    tracker = remembering.track(["blue"], TrackerConfig(detect_every=1000))
    steps(tracker, 0.4, BLUE)
    runs = len(looks)
    steps(tracker, 2.0, start=0.5)
    assert all(names == ("blue",) for names in looks[runs:])


def test_after_a_restart_it_is_looked_for_too(tracker, remembering, tmp_path):
    tracker.save(tmp_path / "m")
    restarted = remembering.track((), TrackerConfig())
    restarted.load(tmp_path / "m")
    (hidden,) = steps(restarted, 1.0, start=0.0)
    (back,) = steps(restarted, 0.3, FAR, start=1.1)
    assert (hidden.state, back.id, back.state) == ("occluded", hidden.id, "tracked")
    assert (back.mask == disc(*FAR[1:])).mean() > 0.98
