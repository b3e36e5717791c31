# SPDX-License-Identifier: Apache-2.0
"""The tracker on drawn streams: who gets which id, when, and for how long."""

import logging
import math
import threading
from dataclasses import replace

import numpy as np
import pytest

from esam3_core.config import TrackerConfig
from esam3_core.runtime import ConceptError, ImageError
from tests.colour_bundle import COLOURS, disc, draw_blobs

DT = 1 / 30
STRICT = TrackerConfig(hold=0.0)  # unseen is occluded at once
EMPTY = draw_blobs([])


def run(tracker, frames, start=0.0, dt=DT):
    """Step through blobs per frame; returns the tracks of each frame."""
    return [tracker.step(draw_blobs(blobs), start + index * dt) for index, blobs in enumerate(frames)]


def summary(tracks):
    return [(track.id, track.state) for track in tracks]


def still(count, *blobs):
    return [list(blobs)] * count


RED, BLUE = ("red", 200, 200, 50), ("blue", 450, 300, 60)


class TestLife:
    def test_a_track_is_new_once_and_then_tracked(self, student):
        frames = run(student.track(["red"]), still(4, RED))
        assert [summary(tracks) for tracks in frames] == [[], [(1, "new")], [(1, "tracked")], [(1, "tracked")]]

    def test_masks_and_boxes_are_those_of_the_frame(self, student):
        *_, (track,) = run(student.track(["red"]), [[("red", 200 + 5 * i, 200, 50)] for i in range(5)])
        truth = disc(220, 200, 50)
        assert (track.mask & truth).sum() / (track.mask | truth).sum() > 0.93
        assert track.box == pytest.approx((170, 150, 100, 100), abs=12)
        assert (track.concept, track.first_seen, track.last_seen) == ("red", 0.0, 4 * DT)

    @pytest.mark.parametrize("min_hits", [1, 2, 5])
    def test_confirmed_after_min_hits(self, student, min_hits):
        tracker = student.track(["red"], TrackerConfig(min_hits=min_hits))
        frames = run(tracker, still(6, RED))
        assert next(index for index, tracks in enumerate(frames) if tracks) == min_hits - 1

    def test_what_flickers_once_gets_no_id(self, student):
        frames = run(student.track(["red"]), [[RED], [], [RED], [], [RED], [RED]])
        assert [summary(tracks) for tracks in frames] == [[]] * 5 + [[(1, "new")]]

    def test_unseen_is_occluded_with_an_empty_mask_where_it_was(self, student):
        frames = run(student.track(["red"], STRICT), still(3, RED) + still(2))
        (track,) = frames[-1]
        assert track.state == "occluded"
        assert not track.mask.any() and track.mask.shape == (480, 640)
        assert track.box == frames[2][0].box
        assert track.last_seen == 2 * DT

    def test_seen_again_within_max_age_is_the_same(self, student):
        frames = run(student.track(["red"], TrackerConfig(max_age=1.0)), still(3, RED) + still(25) + still(2, RED))
        assert summary(frames[-3]) == [(1, "occluded")]
        assert summary(frames[-1]) == [(1, "tracked")]

    def test_ages_count_in_seconds_of_image_time(self, student):
        slow = student.track(["red"], TrackerConfig(max_age=1.0))
        frames = run(slow, still(3, RED) + still(3) + still(2, RED), dt=0.45)
        assert [len(tracks) for tracks in frames] == [0, 1, 1, 1, 1, 0, 0, 1]
        assert summary(frames[-1]) == [(2, "new")]

    def test_an_empty_stream_ages_tracks_too(self, student):
        tracker = student.track(["red"], TrackerConfig(max_age=0.2))
        frames = run(tracker, still(3, RED) + still(20))
        assert [len(tracks) for tracks in frames].count(1) == 2 + 6
        assert tracker.born == tracker.forgotten == 1

    def test_scores_are_smoothed(self, student):
        dull = EMPTY.copy()
        dull[disc(*RED[1:])] = tuple(int(0.6 * value + 0.4 * 128) for value in COLOURS["red"])
        tracker = student.track(["red"])
        (before,) = run(tracker, still(5, RED))[-1]
        scores = [tracker.step(dull, 1 + i * DT)[0].score for i in range(30)]
        raw = student.segment(dull, ["red"])[0].score
        assert before.score > scores[0] > scores[5] > scores[-1] == pytest.approx(raw, abs=1e-3)


class TestIdentity:
    def test_two_of_one_concept_have_two_ids_in_order(self, student):
        frames = run(student.track(["red"]), still(5, RED, ("red", 400, 100, 40)))
        assert {summary(tracks)[0][0] for tracks in frames[1:]} == {1}
        assert summary(frames[-1]) == [(1, "tracked"), (2, "tracked")]

    def test_ids_are_never_reused(self, student):
        tracker = student.track(["red"], TrackerConfig(max_age=0.1))
        seen = [run(tracker, still(3, RED) + still(6), start=index)[2][0].id for index in range(5)]
        assert seen == [1, 2, 3, 4, 5]

    @pytest.mark.parametrize("speed", [5, 40, 90, 110])  # pixels per frame; the blob is 100 wide
    def test_motion_keeps_the_id(self, student, speed):
        frames = run(student.track(["red"]), [[("red", 60 + speed * i, 200, 50)] for i in range(500 // speed)])
        assert {track.id for tracks in frames for track in tracks} == {1}
        assert all(track.state != "occluded" for tracks in frames for track in tracks)

    def test_jumping_back_and_forth_keeps_the_id(self, student):
        frames = run(student.track(["red"]), [[("red", 250 + 60 * (i % 2), 200, 50)] for i in range(20)])
        assert {track.id for tracks in frames for track in tracks} == {1}

    def test_passing_each_other_keeps_both_ids(self, student):
        # They touch while they pass, so for some frames there is only one blob to see.
        crossing = [[("red", 100 + 20 * i, 180, 40), ("red", 580 - 20 * i, 250, 40)] for i in range(25)]
        frames = run(student.track(["red"]), crossing)
        start, end = ({track.id: track.box[1] for track in frames[index]} for index in (2, -1))
        assert start.keys() == end.keys()
        assert all(abs(start[key] - end[key]) < 20 for key in start)

    def test_hidden_behind_something_keeps_the_id_and_comes_out_moved(self, student):
        post = ("blue", 320, 240, 90)
        frames = run(student.track(["red"]), [[("red", 60 + 12 * i, 240, 30), post] for i in range(45)])
        states = [tracks[0].state for tracks in frames[2:]]
        assert "occluded" in states and states[-1] == "tracked"
        assert {track.id for tracks in frames for track in tracks} == {1}

    def test_another_that_appears_far_away_is_another(self, student):
        frames = run(student.track(["red"], STRICT), still(5, RED) + still(2) + still(3, ("red", 550, 400, 50)))
        assert summary(frames[-1]) == [(1, "occluded"), (2, "tracked")]

    def test_concepts_do_not_share_tracks(self, student):
        frames = run(student.track(["red", "blue"], STRICT), still(4, RED) + still(4, ("blue", *RED[1:])))
        assert [(track.id, track.concept, track.state) for track in frames[-1]] == [
            (1, "red", "occluded"),
            (2, "blue", "tracked"),
        ]


class TestConcepts:
    def test_tracks_of_concepts_that_stay_keep_their_ids(self, student):
        tracker = student.track(["red", "blue"])
        before = {track.concept: track.id for track in run(tracker, still(3, RED, BLUE))[-1]}
        tracker.concepts = ["blue", "green"]
        after = run(tracker, still(3, RED, BLUE, ("green", 100, 400, 40)), start=1)[-1]
        assert [(track.id, track.concept) for track in after] == [(before["blue"], "blue"), (3, "green")]

    def test_each_change_counts_up_the_version(self, student):
        tracker = student.track(["red"])
        assert tracker.concept_version == 1
        tracker.concepts = ["Blue "]
        tracker.concepts = ["blue"]
        assert (tracker.concepts, tracker.concept_version) == (["blue"], 3)

    def test_the_next_frame_uses_the_new_concepts_whatever_detect_every_is(self, student):
        tracker = student.track(["red"], TrackerConfig(detect_every=10, min_hits=1))
        run(tracker, still(3, RED, BLUE))
        tracker.concepts = ["blue"]
        assert [track.concept for track in tracker.step(draw_blobs([RED, BLUE]), 1.0)] == ["blue"]

    def test_no_concept_is_idle(self, student):
        tracker = student.track()
        assert run(tracker, still(3, RED)) == [[], [], []]
        assert "image_encoder" not in tracker.timings
        tracker.concepts = ["red"]
        assert summary(run(tracker, still(2, RED), start=1)[-1]) == [(1, "new")]

    @pytest.mark.parametrize("wrong", [["red", ""], ["x" * 65], "red", [3], [f"c{i}" for i in range(9)]])
    def test_a_wrong_concept_changes_nothing(self, student, wrong):
        tracker = student.track(["red"])
        run(tracker, still(3, RED))
        with pytest.raises(ConceptError):
            tracker.concepts = wrong
        assert (tracker.concepts, tracker.concept_version) == (["red"], 1)
        assert summary(run(tracker, still(1, RED), start=1)[-1]) == [(1, "tracked")]

    @pytest.mark.parametrize("wrong", ["red", None, 5, [None]])
    def test_a_tracker_of_no_list_of_concepts_is_refused(self, student, wrong):
        with pytest.raises(ConceptError):
            student.track(wrong)

    def test_too_many_concepts_name_the_limit(self, student):
        with pytest.raises(ConceptError, match="9 concepts, at most 8 at once"):
            student.track([f"c{index}" for index in range(9)])

    def test_concepts_may_change_from_another_thread(self, student):
        tracker = student.track(["red"], TrackerConfig(min_hits=1))
        done = threading.Event()

        def change():
            for index in range(30):
                tracker.concepts = [["red"], ["blue"], []][index % 3]
            done.set()

        thread = threading.Thread(target=change)
        thread.start()
        stamp = 0.0
        while not done.is_set():
            concepts = {track.concept for track in tracker.step(draw_blobs([RED, BLUE]), stamp)}
            assert len(concepts) <= 1
            stamp += DT
        thread.join()
        assert tracker.concept_version == 31


class TestStream:
    def test_a_stamp_that_goes_back_resets_with_a_signal(self, student, caplog):
        tracker = student.track(["red"])
        run(tracker, still(3, RED), start=10.0)
        with caplog.at_level(logging.WARNING):
            looped = run(tracker, still(2, RED), start=0.0)
        assert [summary(tracks) for tracks in looped] == [[], [(2, "new")]]
        assert tracker.resets == 1
        assert "went back from 10.067 to 0.000 s" in tracker.last_reset
        assert tracker.last_reset in caplog.text

    def test_the_same_stamp_twice_is_no_reset(self, student):
        tracker = student.track(["red"])
        assert summary([tracker.step(draw_blobs([RED]), 5.0) for _ in range(3)][-1]) == [(1, "tracked")]
        assert tracker.resets == 0

    def test_another_image_size_resets(self, student):
        tracker = student.track(["red"])
        run(tracker, still(3, RED))
        assert tracker.step(draw_blobs([RED], (720, 1280)), 1.0) == []
        assert tracker.resets == 1 and "image size changed" in tracker.last_reset

    @pytest.mark.parametrize("stamp", [math.nan, math.inf])
    def test_a_stamp_that_is_no_time_is_refused_and_nothing_is_lost(self, student, stamp):
        tracker = student.track(["red"])
        run(tracker, still(3, RED))
        with pytest.raises(ImageError, match="stamp"):
            tracker.step(EMPTY, stamp)
        assert summary(run(tracker, still(1, RED), start=0.2)[-1]) == [(1, "tracked")]

    def test_a_bad_image_is_refused_and_nothing_is_lost(self, student):
        tracker = student.track(["red"])
        run(tracker, still(3, RED))
        with pytest.raises(ImageError):
            tracker.step(np.zeros((480, 640), np.uint8), 0.15)
        assert summary(run(tracker, still(1, RED), start=0.2)[-1]) == [(1, "tracked")]

    def test_reset_on_request_keeps_counting_ids(self, student):
        tracker = student.track(["red"])
        run(tracker, still(3, RED))
        tracker.reset()
        assert tracker.resets == 1
        assert summary(run(tracker, still(2, RED))[-1]) == [(2, "new")]


class TestSettings:
    """Each field of TrackerConfig changes behaviour, also while running."""

    def test_settings_can_be_changed_while_running(self, student):
        tracker = student.track(["red"])
        tracker.config = replace(tracker.config, min_hits=1)
        assert summary(run(tracker, still(1, RED))[0]) == [(1, "new")]

    def test_new_score(self, student):
        assert run(student.track(["red"], TrackerConfig(new_score=0.9999)), still(4, RED))[-1] == []

    def test_a_weak_detection_continues_a_track_but_starts_none(self, student):
        dull = EMPTY.copy()
        dull[disc(*RED[1:])] = tuple(int(0.5 * value + 0.5 * 128) for value in COLOURS["red"])
        config = TrackerConfig(new_score=0.95)
        assert 0.5 < student.segment(dull, ["red"])[0].score < 0.95
        tracker = student.track(["red"], config)
        assert [tracker.step(dull, i * DT) for i in range(4)][-1] == []
        run(tracker, still(2, RED), start=1)
        assert summary(tracker.step(dull, 2.0)) == [(1, "tracked")]

    @pytest.mark.parametrize(("keep_share", "state"), [(0.5, "tracked"), (1.0, "occluded")])
    def test_what_is_too_weak_to_be_detected_may_continue_a_track(self, student, keep_share, state):
        dull = EMPTY.copy()
        dull[disc(*RED[1:])] = tuple(int(0.5 * value + 0.5 * 128) for value in COLOURS["red"])
        student.detector = replace(student.detector, score_threshold=0.95)
        tracker = student.track(["red"], TrackerConfig(keep_share=keep_share, new_score=0.95, hold=0.0))
        run(tracker, still(3, RED))
        assert summary(tracker.step(dull, 3 * DT)) == [(1, state)]

    @pytest.mark.parametrize(("reach", "ids"), [(1.0, [1]), (0.0, [1, 2])])
    def test_reach(self, student, reach, ids):
        far = ("red", RED[1] + 115, RED[2], 50)  # beside where it was, without overlap
        frames = run(student.track(["red"], TrackerConfig(reach=reach)), still(4, RED) + still(2, far))
        assert [track.id for track in frames[-1]] == ids

    @pytest.mark.parametrize(("match_iou", "ids"), [(0.3, [1]), (0.8, [1, 2])])
    def test_match_iou(self, student, match_iou, ids):
        config = TrackerConfig(match_iou=match_iou, reach=0.0)
        near = ("red", RED[1] + 30, RED[2], 50)
        assert [track.id for track in run(student.track(["red"], config), still(4, RED) + still(2, near))[-1]] == ids

    def test_hold(self, student):
        frames = run(student.track(["red"], TrackerConfig(hold=0.2)), still(4, RED) + still(10), dt=0.05)
        assert [track.state for tracks in frames[4:] for track in tracks] == ["tracked"] * 4 + ["occluded"] * 6
        held = frames[7][0]
        assert (held.mask == frames[3][0].mask).all()
        assert held.last_seen == pytest.approx(3 * 0.05)  # it was not seen since, and says so

    def test_what_is_held_moves_on_as_it_moved(self, student):
        frames = run(student.track(["red"]), [[("red", 100 + 10 * i, 200, 50)] for i in range(6)] + still(3))
        truth = disc(180, 200, 50)
        (track,) = frames[-1]
        assert (track.mask & truth).sum() / (track.mask | truth).sum() > 0.85

    def test_max_tracks_keeps_the_best(self, student):
        blobs = [("red", 60 + 120 * column, 80 + 150 * row, 40) for column in range(5) for row in range(2)]
        assert len(run(student.track(["red"]), still(3, *blobs[:8]))[-1]) == 8
        assert len(run(student.track(["red"], TrackerConfig(max_tracks=3)), still(3, *blobs))[-1]) == 3

    def test_detect_every_skips_the_engines_and_moves_what_moved(self, student):
        tracker = student.track(["red"], TrackerConfig(detect_every=3, min_hits=2))
        ran = []
        for index in range(10):
            tracks = tracker.step(draw_blobs([("red", 100 + 10 * index, 200, 50)]), index * DT)
            ran.append("detector" in tracker.timings)
        assert ran == [True, False, False] * 3 + [True]
        for extra in (10, 11):
            truth = disc(100 + 10 * extra, 200, 50)
            (track,) = tracker.step(EMPTY, extra * DT)
            assert track.state == "tracked" and track.last_seen == extra * DT
            assert (track.mask & truth).sum() / (track.mask | truth).sum() > 0.85
        assert tracks[0].id == 1

    def test_concepts_take_turns_and_who_waits_moves_on(self, student):
        tracker = student.track(["red", "blue"], TrackerConfig(detect_every=2, min_hits=2))
        for index in range(9):
            tracks = tracker.step(draw_blobs([("red", 100 + 10 * index, 120, 50), BLUE]), index * DT)
        assert summary(tracks) == [(1, "tracked"), (2, "tracked")]
        red = next(track for track in tracks if track.concept == "red")
        truth = disc(180, 120, 50)
        assert (red.mask & truth).sum() / (red.mask | truth).sum() > 0.85

    def test_a_long_pause_between_detections_forgets_nothing(self, student):
        tracker = student.track(["red"], TrackerConfig(detect_every=60, max_age=0.5))
        frames = run(tracker, still(125, RED))
        assert summary(frames[-1]) == [(1, "tracked")]

    @pytest.mark.parametrize("values", [{"detect_every": 0}, {"min_hits": 0}, {"max_age": -1}, {"reach": math.nan}])
    def test_values_out_of_range_are_refused(self, values):
        with pytest.raises(ValueError, match="must lie in"):
            TrackerConfig(**values)
