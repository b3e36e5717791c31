# SPDX-License-Identifier: Apache-2.0
"""The roster on detections made by hand: merging, ids, and what holds whatever is seen."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from esam3_core.config import TrackerConfig
from esam3_core.runtime.live_track import LiveTrack
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.roster import MAX_ID, Roster
from esam3_core.runtime.track import Detection

SIZE = (240, 320)
ONE_HIT = TrackerConfig(min_hits=1, hold=0.0)


def seen(x, y, side=40, concept="cup", score=0.9):
    """A detection of a square whose corner is at x, y."""
    mask = np.zeros(SIZE, bool)
    mask[y : y + side, x : x + side] = True
    crop = CroppedMask.from_full(mask)
    return Detection(concept, score, tuple(map(float, crop.roi)), crop)


def states(tracks):
    return {track.id: track.state for track in tracks}


class TestMerging:
    def test_two_tracks_that_come_to_lie_on_each_other_become_the_older(self):
        roster = Roster(ONE_HIT)
        roster.update([seen(50, 50), seen(100, 50)], 0.0)
        for step in range(1, 11):
            tracks = roster.update([seen(50, 50), seen(100 - 5 * step + (step == 10), 50)], step / 30)
        assert states(tracks) == {1: "tracked"}
        assert roster.forgotten == 1

    def test_less_overlap_than_merge_iou_keeps_both(self):
        roster = Roster(replace(ONE_HIT, merge_iou=0.99))
        roster.update([seen(50, 50), seen(100, 50)], 0.0)
        for step in range(1, 11):
            tracks = roster.update([seen(50, 50), seen(100 - 5 * step + (step == 10), 50)], step / 30)
        assert states(tracks) == {1: "tracked", 2: "tracked"}

    def test_an_occluded_track_takes_over_the_younger_one_at_its_place(self):
        roster = Roster(replace(ONE_HIT, reach=0.0))
        roster.update([seen(100, 100)], 0.0)
        assert states(roster.update([seen(160, 100)], 0.03)) == {1: "occluded", 2: "new"}
        for x in range(156, 104, -4):
            tracks = roster.update([seen(x, 100)], 0.03 + (160 - x) / 100)
            assert states(tracks) == {1: "occluded", 2: "tracked"}
        tracks = roster.update([seen(104, 100)], 0.59)
        assert states(tracks) == {1: "tracked"}
        assert tracks[0].box[0] == 104 and tracks[0].first_seen == 0.0

    def test_two_seen_beside_each_other_stay_two_when_one_hides_the_other(self):
        roster = Roster(ONE_HIT)
        for step in range(11):
            roster.update([seen(50, 50), seen(100 - 4 * step, 50)], step / 30)
        tracks = roster.update([seen(52, 50)], 12 / 30)
        assert len(tracks) == 2
        assert sorted(states(tracks).values()) == ["occluded", "tracked"]

    def test_concepts_do_not_merge(self):
        tracks = Roster(ONE_HIT).update([seen(50, 50), seen(50, 50, concept="mug")], 0.0)
        assert [track.concept for track in tracks] == ["cup", "mug"]


class TestIds:
    def test_after_the_last_id_counting_starts_again_past_those_alive(self, caplog):
        roster = Roster(ONE_HIT)
        roster.update([seen(50, 50)], 0.0)
        roster._last_id = MAX_ID - 1
        last = roster.update([seen(50, 50), seen(150, 50)], 0.1)
        assert states(last) == {1: "tracked", MAX_ID: "new"}
        wrapped = roster.update([seen(50, 50), seen(150, 50), seen(50, 150)], 0.2)
        assert states(wrapped) == {1: "tracked", 2: "new", MAX_ID: "tracked"}
        assert "all 65535 ids have been given" in caplog.text

    def test_detections_below_the_threshold_only_continue_tracks(self):
        roster = Roster(ONE_HIT)
        roster.update([seen(50, 50, score=0.9)], 0.0)
        tracks = roster.update([seen(50, 50, score=0.7), seen(150, 50, score=0.7)], 0.03, threshold=0.8)
        assert states(tracks) == {1: "tracked"}

    def test_the_better_detection_gets_the_smaller_id(self):
        tracks = Roster(ONE_HIT).update([seen(50, 50, score=0.7), seen(150, 50, score=0.9)], 0.0)
        assert [track.box[0] for track in tracks] == [150, 50]


def test_stamps_closer_than_a_millisecond_tell_no_velocity():
    track = LiveTrack.start(seen(50, 50), 0.0)
    track.see(seen(51, 50), 1e-308)
    assert track.velocity == (0, 0)


def test_velocity_ignores_what_is_being_hidden():
    track = LiveTrack.start(seen(50, 50), 0.0)
    track.see(seen(55, 50), 0.1)
    assert track.velocity == (50, 0)
    half = seen(60, 50, side=25)
    track.see(half, 0.2)
    assert track.velocity == (50, 0)


SQUARES = st.builds(
    seen,
    x=st.integers(0, 300),
    y=st.integers(0, 220),
    side=st.integers(1, 60),
    concept=st.sampled_from(["cup", "mug"]),
    score=st.floats(0.5, 1.0),
)
CONFIGS = st.builds(
    TrackerConfig,
    min_hits=st.integers(1, 3),
    hold=st.floats(0, 0.5),
    max_age=st.floats(0, 0.5),
    max_tracks=st.integers(1, 5),
    match_iou=st.floats(0, 1),
    merge_iou=st.floats(0, 1),
    reach=st.floats(0, 3),
)


@settings(max_examples=150, deadline=None)
@given(CONFIGS, st.lists(st.lists(SQUARES, max_size=4) | st.none(), max_size=15), st.floats(0, 0.3))
def test_what_holds_whatever_is_seen(config, frames, dt):
    """None stands for a frame in which nothing was looked for."""
    roster = Roster(config)
    announced: set[int] = set()
    before: set[int] = set()
    for index, detections in enumerate(frames):
        stamp = index * dt
        tracks = roster.update(detections or [], stamp, looked_for=() if detections is None else None)
        ids = [track.id for track in tracks]
        assert ids == sorted(set(ids)) and len(ids) <= config.max_tracks
        for track in tracks:
            assert 0 <= track.score <= 1 and 0 <= stamp - track.last_seen <= config.max_age + 1e-9
            assert track.first_seen <= track.last_seen
            assert (track.state == "new") == (track.id not in announced)
            assert track.state != "occluded" or track.crop.area == 0
        # An id that was gone stays gone.
        assert not (set(ids) & announced) - before
        announced |= set(ids)
        before = set(ids)
        assert roster.born - roster.forgotten == len(ids)
