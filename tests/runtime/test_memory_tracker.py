# SPDX-License-Identifier: Apache-2.0
"""Tracks that remember, on drawn streams: who is followed, lost, found again, corrected, hidden and forgotten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from esam3_core.config import TrackerConfig
from esam3_core.runtime import BundleError, PromptError
from tests.colour_bundle import disc, draw_blobs

DT = 1 / 15
RED, TWIN, BLUE = ("red", 150, 150, 50), ("red", 480, 150, 50), ("blue", 320, 380, 50)
CONFIG = TrackerConfig(detect_every=1000)


def run(tracker, frames, start=0.0):
    """Step through blobs per frame; returns the tracks of each frame."""
    return [tracker.step(draw_blobs(blobs), start + index * DT) for index, blobs in enumerate(frames)]


def summary(tracks):
    return [(track.id, track.state) for track in tracks]


def still(count, *blobs):
    return [list(blobs)] * count


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


class TestMemoryFollows:
    def test_between_two_looks_of_the_detector(self, remembering, looks):
        tracker = remembering.track(["red"], CONFIG)
        frames = run(tracker, [[("red", 150 + 15 * i, 150, 50)] for i in range(12)])
        assert len(looks) == 2  # the first, and one that confirms it
        (track,) = frames[-1]
        assert summary(frames[-1]) == [(1, "tracked")]
        assert overlap(track.mask, disc(315, 150, 50)) > 0.93
        assert track.last_seen == 11 * DT

    def test_detection_runs_on_every_nth_frame(self, remembering, looks):
        run(remembering.track(["red"], TrackerConfig(detect_every=5)), still(12, RED))
        assert len(looks) == 4  # frames 0, 1 (unconfirmed), 6, 11

    def test_concepts_take_turns(self, remembering, looks):
        frames = run(remembering.track(["red", "blue"], TrackerConfig(detect_every=2)), still(7, RED, BLUE))
        both, red, blue = ("red", "blue"), ("red",), ("blue",)
        assert looks == [both, both, red, blue, red, blue]
        assert summary(frames[-1]) == [(1, "tracked"), (2, "tracked")]

    def test_only_the_concept_of_a_lost_track_is_looked_for_at_once(self, remembering, looks):
        run(remembering.track(["red", "blue"], CONFIG), still(4, RED, BLUE) + still(1, BLUE))
        assert looks == [("red", "blue"), ("red", "blue"), ("red",)]

    def test_detection_runs_at_once_when_concepts_change(self, remembering, looks):
        tracker = remembering.track(["red"], CONFIG)
        run(tracker, still(4, RED, BLUE))
        tracker.concepts = ["red", "blue"]
        frames = run(tracker, still(3, RED, BLUE), start=1)
        assert len(looks) == 4
        assert [(track.id, track.concept) for track in frames[-1]] == [(1, "red"), (2, "blue")]

    def test_detection_runs_at_once_when_a_track_is_lost(self, remembering, looks):
        run(remembering.track(["red"], CONFIG), still(4, RED) + still(3))
        assert len(looks) == 3

    def test_what_is_hidden_is_occluded_and_comes_back_with_its_id(self, remembering):
        frames = run(remembering.track(["red"], CONFIG), still(4, RED) + still(30) + still(2, RED))
        assert summary(frames[20]) == [(1, "occluded")] and not frames[20][0].mask.any()
        assert summary(frames[-1]) == [(1, "tracked")]

    def test_back_after_far_longer_than_a_tracker_without_memory_waits(self, remembering):
        stream = still(4, RED) + still(60) + still(3, RED)  # 4 s
        assert summary(run(remembering.track(["red"]), stream)[-1]) == [(1, "tracked")]
        assert summary(run(remembering.track(["red"], TrackerConfig(tracker="iou")), stream)[-1]) == [(2, "tracked")]

    def test_forgotten_after_memory_age(self, remembering):
        tracker = remembering.track(["red"], TrackerConfig(memory_age=1.0))
        frames = run(tracker, still(4, RED) + still(20) + still(2, RED))
        assert summary(frames[17]) == [(1, "occluded")] and frames[22] == []
        assert summary(frames[-1]) == [(2, "new")]
        assert tracker.forgotten == 1

    def test_a_twin_that_is_hidden_does_not_take_the_others_id(self, remembering):
        crossing = [[("red", 150 + 12 * i, 150, 50)] + ([TWIN] if not 4 <= i < 10 else []) for i in range(16)]
        frames = run(remembering.track(["red"]), crossing)
        mover, twin = (track.id for track in sorted(frames[2], key=lambda track: track.box[0]))
        assert dict(summary(frames[6])) == {mover: "tracked", twin: "occluded"}
        places = {track.id: track.box[0] for track in frames[-1]}
        assert places == pytest.approx({mover: 150 + 12 * 15 - 50, twin: 430}, abs=8)

    def test_the_mask_of_a_detection_that_agrees_is_the_one_that_is_shown(self, remembering, looks, monkeypatch):
        # So sure must a pixel be that the detector draws a smaller disc than memory does.
        strict, detect = replace(remembering.detector, mask_threshold=0.999), remembering.detect

        def detect_strictly(*given):
            with monkeypatch.context() as patch:
                patch.setattr(remembering, "detector", strict)
                return detect(*given)

        monkeypatch.setattr(remembering, "detect", detect_strictly)
        config = TrackerConfig(detect_every=4, recondition_score=1.0)
        tracker, shown = remembering.track(["red"], config), {True: [], False: []}
        for index in range(12):
            before = len(looks)
            (*_, tracks) = run(tracker, [[RED]], start=index * DT)
            if index > 1:
                shown[len(looks) > before].append(tracks[0].mask)
        remembering.detector = strict
        (detection,) = remembering.segment(draw_blobs([RED]), ["red"])
        assert len(shown[True]) > 1 and all((mask == detection.mask).all() for mask in shown[True])
        assert len(shown[False]) > 1 and all(mask.sum() > 1.05 * detection.mask.sum() for mask in shown[False])

    def test_mask_threshold_decides_how_far_a_tracks_mask_reaches(self, remembering):
        areas = []
        for threshold in (0.999, 0.5, 0.001):
            remembering.detector = replace(remembering.detector, mask_threshold=threshold)
            tracks = run(remembering.track(["red"], CONFIG), still(8, RED))[-1]
            areas.append(int(tracks[0].mask.sum()))
        assert areas == sorted(set(areas))

    @pytest.mark.parametrize("threshold", [0.5, 0.01])
    def test_masks_of_one_concept_do_not_overlap(self, remembering, threshold):
        remembering.detector = replace(remembering.detector, mask_threshold=threshold)
        frames = run(remembering.track(["red"]), [[("red", 150 + 10 * i, 150, 50), TWIN] for i in range(22)])
        for tracks in frames:
            masks = [track.mask for track in tracks if track.state != "occluded"]
            assert sum(mask.astype(int) for mask in masks).max(initial=0) <= 1 if masks else True

    def test_ids_are_never_reused(self, remembering):
        tracker = remembering.track(["red"], TrackerConfig(memory_age=0.2))
        seen = [run(tracker, still(3, RED) + still(6), start=index)[2][0].id for index in range(4)]
        assert seen == [1, 2, 3, 4]

    def test_an_empty_search_costs_no_engine(self, remembering):
        tracker = remembering.track()
        assert run(tracker, still(3, RED)) == [[], [], []]
        assert "image_encoder" not in tracker.timings


def shades(*spots):
    """A frame with discs of any colour: (RGB, x, y, radius)."""
    image = draw_blobs([])
    for rgb, *place in spots:
        image[disc(*place)] = rgb
    return image


DARK, MIDDLE, LIGHT = (140, 30, 30), (175, 52, 52), (210, 75, 75)  # all are red; dark and light do not look alike


FAR = (580, 400, 50)  # from the first places, further than the propagator follows


def run_shades(tracker, *parts):
    """Step through parts (how many frames, discs); returns the tracks of each frame."""
    images = [image for count, spots in parts for image in [shades(*spots)] * count]
    return [tracker.step(image, index * DT) for index, image in enumerate(images)]


class TestDetectionHelpsMemory:
    """An object comes back where its memory draws it, but does not believe in it."""

    def test_its_track_has_its_id_back(self, remembering):
        frames = run(remembering.track(["red"]), still(4, RED) + still(30) + still(3, ("red", *FAR)))
        assert summary(frames[20]) == [(1, "occluded")]
        assert summary(frames[34]) == summary(frames[-1]) == [(1, "tracked")]
        assert overlap(frames[-1][0].mask, disc(*FAR)) > 0.9

    def test_what_no_memory_draws_is_new(self, remembering):
        frames = run_shades(remembering.track(["red"]), (4, [(DARK, 150, 150, 50)]), (20, []), (3, [(LIGHT, *FAR)]))
        assert [track.id for track in frames[-1]] == [1, 2] and frames[-1][0].state == "occluded"

    def test_of_two_that_are_lost_it_is_the_one_that_is_drawn(self, remembering):
        both = [(DARK, 100, 100, 50), (LIGHT, 100, 380, 50)]
        frames = run_shades(remembering.track(["red"]), (4, both), (20, []), (3, [(LIGHT, 580, 100, 50)]))
        light = next(track.id for track in frames[3] if track.box[1] > 240)
        assert sorted(track.id for track in frames[-1] if track.state == "tracked") == [light]

    def test_a_newcomer_without_id_gives_way(self, remembering):
        # It comes back in another light, and is a newcomer until it looks like itself again.
        tracker = remembering.track(["red"], TrackerConfig(min_hits=4))
        parts = (6, [(DARK, 150, 150, 50)]), (20, []), (2, [(LIGHT, *FAR)]), (4, [(MIDDLE, *FAR)])
        assert summary(run_shades(tracker, *parts)[-1]) == [(1, "tracked")]
        assert tracker.born == 1

    def test_but_not_one_that_was_seen_beside_it(self, remembering):
        twin = ("red", *FAR)
        tracker = remembering.track(["red"], TrackerConfig(min_hits=3))
        frames = run(tracker, still(4, RED) + still(1, RED, twin) + still(4, twin))
        assert summary(frames[-1]) == [(1, "occluded"), (2, "tracked")]


class TestSettings:
    def test_write_iou_decides_what_enters_memory(self, remembering):
        # The colour propagator expects an IoU of 0.95 of every mask that is there.
        for limit, remembered in ((0.9, True), (0.99, False)):
            tracker = remembering.track(["red"], replace(CONFIG, write_iou=limit))
            run(tracker, still(8, RED))
            bank = tracker._roster.bank
            (track,) = tracker._roster.confirmed
            assert (bank.read([track.key], 1)["memory_age"].max() > 0) == remembered

    def test_write_every_thins_out_what_is_remembered(self, remembering):
        written = []
        for every in (1, 2, 4):
            tracker = remembering.track(["red"], replace(CONFIG, write_every=every, recondition_score=1.0))
            run(tracker, still(17, RED))
            (track,) = tracker._roster.confirmed
            written.append(int(tracker._roster.bank.export([track.key])["writes"][0, 0]))
        assert written[0] > written[1] > written[2] > 0
        assert written[0] == 16

    def test_recondition_score_decides_which_detection_corrects_memory(self, remembering):
        for score, anchors in ((0.8, 2), (1.0, 1)):
            tracker = remembering.track(["red"], TrackerConfig(recondition_score=score))
            frames = run(tracker, still(12, RED))
            (track,) = tracker._roster.confirmed
            assert frames[-1][0].score < 1
            assert tracker._roster.bank.anchored(track.key) == anchors

    def test_keep_alive_hides_what_no_detection_agrees_with(self, remembering):
        tracker = remembering.track(["red"], TrackerConfig(keep_alive=0.5, memory_age=1.5))
        run(tracker, still(20, RED))
        remembering.detector = replace(remembering.detector, score_threshold=1.0)  # the detector sees nothing any more
        frames = run(tracker, still(40, RED), start=20 * DT)
        assert summary(frames[3]) == [(1, "tracked")]
        assert summary(frames[12]) == [(1, "occluded")]
        assert frames[-1] == []

    def test_a_young_track_that_the_detector_keeps_denying_is_hidden_until_it_agrees(self, remembering):
        tracker = remembering.track(["red"], TrackerConfig(keep_alive=100))
        run(tracker, still(3, RED))
        before, remembering.detector = remembering.detector, replace(remembering.detector, score_threshold=1.0)
        frames = run(tracker, still(30, RED), start=3 * DT)
        assert [summary(frames[i]) for i in (6, 7, 29)] == [[(1, "tracked")], [(1, "occluded")], [(1, "occluded")]]
        remembering.detector = before
        assert summary(run(tracker, still(1, RED), start=33 * DT)[-1]) == [(1, "tracked")]

    def test_and_forgotten_if_it_never_does(self, remembering):
        tracker = remembering.track(["red"], TrackerConfig(keep_alive=1.0))
        run(tracker, still(3, RED))
        remembering.detector = replace(remembering.detector, score_threshold=1.0)
        frames = run(tracker, still(18, RED), start=3 * DT)
        assert summary(frames[10]) == [(1, "occluded")] and frames[-1] == []

    def test_a_full_memory_gives_way_to_what_is_visible(self, remembering):
        tracker = remembering.track(["red", "blue"], TrackerConfig(max_tracks=1))
        run(tracker, still(3, RED))
        assert summary(run(tracker, still(3, RED, BLUE), start=1)[-1]) == [(1, "tracked")]
        (track,) = run(tracker, still(4, BLUE), start=2)[-1]
        assert (track.id, track.concept) == (2, "blue")

    def test_tracks_that_are_gone_leave_nothing_behind(self, remembering):
        tracker = remembering.track(["red"], TrackerConfig(memory_age=0.5))
        for second in range(5):
            run(tracker, still(3, RED, TWIN) + still(12, RED), start=second)
        (track,) = tracker._roster.confirmed
        assert tracker.born == 6 and track.beside == set()

    def test_a_threshold_above_new_score_keeps_tracks_from_being_born(self, remembering):
        tracker = remembering.track(["red"])
        (first,) = run(tracker, still(3, RED))[-1]
        remembering.detector = replace(remembering.detector, score_threshold=(first.score + 1) / 2)
        assert summary(run(tracker, still(3, RED, TWIN), start=1)[-1]) == [(1, "tracked")]

    def test_more_tracks_than_the_largest_bucket(self, remembering):
        many = [("red", 53 + 106 * (i % 6), 80 + 160 * (i // 6), 44) for i in range(18)]
        tracker = remembering.track(config=TrackerConfig(max_tracks=20))
        for _, x, y, _ in many:
            tracker.add(draw_blobs(many), 0.0, points=[(x, y, 1)])
        frames = run(tracker, still(3, *many))
        assert summary(frames[-1]) == [(number, "tracked") for number in range(1, 19)]
        for track, (_, x, y, radius) in zip(frames[-1], many, strict=True):
            assert overlap(track.mask, disc(x, y, radius)) > 0.8

    def test_tracker_and_room_are_fixed(self, remembering):
        tracker = remembering.track(["red"], CONFIG)
        with pytest.raises(ValueError, match="make another"):
            tracker.config = TrackerConfig(tracker="iou")
        with pytest.raises(ValueError, match="allocated"):
            tracker.config = TrackerConfig(max_tracks=3)
        tracker.config = replace(CONFIG, min_hits=1)


class TestWithoutMemory:
    def test_auto_links_detections(self, student):
        assert not student.track(["red"]).has_memory

    def test_asking_for_memory_names_the_remedy(self, student):
        with pytest.raises(BundleError, match=r"no memory in this bundle.*choose the tracker iou"):
            student.track(["red"], TrackerConfig(tracker="memory"))

    def test_an_object_cannot_be_shown(self, student, remembering):
        image = draw_blobs([RED])
        with pytest.raises(BundleError, match="no memory in this bundle"):
            student.track().add(image, 0.0, box=(100, 100, 100, 100))
        with pytest.raises(ValueError, match="choose the tracker memory"):
            remembering.track(config=TrackerConfig(tracker="iou")).add(image, 0.0, box=(100, 100, 100, 100))


SHOWN = [
    {"box": (100, 100, 100, 100)},
    {"points": [(150, 150, 1), (150, 300, 0)]},
    {"box": (100, 100, 100, 100), "points": [(150, 150, 1)]},
    {"mask": disc(150, 150, 50)},
]
BAD = [
    ({}, "nothing shows the object"),
    ({"points": [(10, 10, 0)]}, "nothing shows the object"),
    ({"points": [(10, 10, 2)]}, "must end in 1"),
    ({"points": [(10, 1000, 1)]}, "outside the frame"),
    ({"points": [(10, 10, 1)] * 5}, "this bundle takes 4"),
    ({"box": (700, 10, 20, 20)}, "outside the frame"),
    ({"box": (10, 10, 0, 20)}, "no area"),
    ({"box": (10, 10, float("nan"), 20)}, "no area"),
    ({"box": (1, 2, 3)}, "four numbers"),
    ({"mask": np.zeros((480, 640), bool)}, "empty"),
    ({"mask": np.ones((48, 64), bool)}, "shape"),
    ({"mask": np.ones((480, 640), bool), "box": (1, 2, 3, 4)}, "either a mask"),
]


class TestOneObject:
    @pytest.mark.parametrize("shown", SHOWN, ids=["box", "points", "both", "mask"])
    def test_is_followed_and_nothing_else(self, remembering, looks, shown):
        tracker = remembering.track()
        first = draw_blobs([RED, TWIN, BLUE])
        track = tracker.add(first, 0.0, **shown)
        assert (track.id, track.state, track.concept) == (1, "new", "")
        assert overlap(track.mask, disc(150, 150, 50)) > 0.93
        moving = [[("red", 150, 150 + 8 * i, 50), TWIN] for i in range(1, 12)]
        frames = [tracker.step(first, 0.0), *run(tracker, moving, start=DT)]
        assert summary(frames[0]) == [(1, "new")] and summary(frames[-1]) == [(1, "tracked")]
        assert overlap(frames[-1][0].mask, disc(150, 238, 50)) > 0.93
        assert not looks

    def test_stays_beside_concepts_that_come_and_go(self, remembering):
        tracker = remembering.track(["red"])
        run(tracker, still(3, RED, BLUE))
        tracker.add(draw_blobs([RED, BLUE]), 2 * DT, box=(270, 330, 100, 100), concept="my cup")
        tracker.concepts = []
        (track,) = run(tracker, still(3, RED, BLUE), start=1)[-1]
        assert (track.id, track.concept, track.state) == (2, "my cup", "tracked")

    def test_is_remembered_until_it_is_removed(self, remembering):
        tracker = remembering.track(config=TrackerConfig(memory_age=0.5, keep_alive=0.1))
        tracker.add(draw_blobs([RED]), 0.0, box=(100, 100, 100, 100))
        frames = run(tracker, still(30) + still(2, RED))
        assert summary(frames[25]) == [(1, "occluded")] and summary(frames[-1]) == [(1, "tracked")]
        tracker.remove(1)
        assert run(tracker, still(2, RED), start=10)[-1] == []
        with pytest.raises(PromptError, match="no track has the id 1"):
            tracker.remove(1)

    def test_may_be_shown_on_a_frame_that_is_past(self, remembering):
        tracker = remembering.track(["blue"])
        run(tracker, still(6, RED, BLUE))
        tracker.add(draw_blobs([RED, BLUE]), 2 * DT, points=[(150, 150, 1)])
        frames = run(tracker, still(2, RED, BLUE), start=6 * DT)
        assert summary(frames[-1]) == [(1, "tracked"), (2, "tracked")] and tracker.resets == 0

    @pytest.mark.parametrize(("shown", "reason"), BAD)
    def test_what_cannot_be_is_refused_and_changes_nothing(self, remembering, shown, reason):
        tracker = remembering.track(["red"])
        before = summary(run(tracker, still(3, RED))[-1])
        with pytest.raises(PromptError, match=reason):
            tracker.add(draw_blobs([RED]), 2 * DT, **shown)
        assert len(tracker._roster.bank) == 1
        assert [one[0] for one in summary(run(tracker, still(1, RED), start=1)[0])] == [one[0] for one in before]

    def test_what_fails_makes_no_room_for_itself(self, remembering, monkeypatch):
        def fail(*_):
            raise RuntimeError("out of memory")

        tracker = remembering.track(["red"], TrackerConfig(max_tracks=1))
        run(tracker, still(3, RED) + still(2))
        with monkeypatch.context() as broken, pytest.raises(RuntimeError):
            broken.setattr(tracker._roster.engines, "propagate", fail)
            tracker.add(draw_blobs([BLUE]), 5 * DT, points=[(320, 380, 1)])
        assert summary(run(tracker, still(1, RED), start=1)[0]) == [(1, "tracked")]

    def test_no_room_is_said(self, remembering):
        tracker = remembering.track(config=TrackerConfig(max_tracks=1))
        tracker.add(draw_blobs([RED]), 0.0, points=[(150, 150, 1)])
        with pytest.raises(PromptError, match="raise max_tracks"):
            tracker.add(draw_blobs([RED]), 0.0, points=[(150, 150, 1)])
