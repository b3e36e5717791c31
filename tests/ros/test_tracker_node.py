# SPDX-License-Identifier: Apache-2.0
"""The tracker node with real topics and a bundle that finds colours."""

from __future__ import annotations

import re
import threading
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from esam3_ros.msg import ConceptSet, Track
from esam3_ros.srv import SetConcepts
from rcl_interfaces.srv import GetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from esam3_ros import masks
from esam3_ros.conversions import to_jpeg
from esam3_ros.qos import LATCHED
from tests.colour_bundle import disc, draw_blobs
from tests.ros.conftest import PATIENCE, blobs, time_of, wait_for


def with_tracks(results):
    return lambda: next((message for message in reversed(results) if message.tracks), None)


def test_finds_an_instance_and_says_where_it_is(graph, tracker, results):
    tracker()
    message = graph.show_until(with_tracks(results), "a track")
    (track,) = message.tracks
    assert (track.id, track.concept) == (1, "red")
    assert (message.height, message.width) == (480, 640)
    found, true = masks.unpack(track.mask, 480, 640), disc(160, 120, 50)
    assert (found & true).sum() / (found | true).sum() > 0.85
    assert 0.5 < track.score <= 1


def test_every_result_carries_the_header_of_its_image(graph, tracker, results):
    tracker()
    labels = graph.collect("tracker/label_image", Image)
    sent = []

    def step():
        message = graph.show()
        sent.append((message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id))
        time.sleep(0.03)
        return len(results) > 5 and len(labels) > 5

    wait_for(step)
    for message in [*results, *labels]:
        assert (message.header.stamp.sec, message.header.stamp.nanosec, message.header.frame_id) in sent


def test_frames_without_instances_are_published_too(graph, tracker, results):
    tracker(concepts=["green"])
    graph.show_until(lambda: len(results) >= 3)
    assert all(not message.tracks for message in results)


def test_without_concepts_it_idles_and_publishes_empty_arrays(graph, tracker, results):
    tracker(concepts=[])
    graph.show_until(lambda: len(results) >= 3)
    assert all(not message.tracks for message in results)
    wait_for(lambda: graph.status("tracks").message.startswith("idle"))


def test_a_track_is_first_new_then_tracked_then_occluded(film):
    film = film(max_age=5.0, hold=0.0)
    first, *seen = [film.show() for _ in range(4)]
    hidden = film.show(draw_blobs([]))
    assert not first.tracks  # min_hits frames confirm it
    assert [message.tracks[0].state for message in [*seen, hidden]] == [
        Track.NEW, Track.TRACKED, Track.TRACKED, Track.OCCLUDED,
    ]  # fmt: skip
    (track,) = hidden.tracks
    assert track.id == 1 and not track.mask.data and track.mask.roi.width > 50
    assert (track.first_seen, track.last_seen) == (first.header.stamp, seen[-1].header.stamp)


def test_a_service_changes_concepts_and_names_the_first_frame_that_uses_them(graph, tracker, results):
    tracker()
    latched = graph.collect("tracker/concepts", ConceptSet, LATCHED)
    graph.show_until(with_tracks(results))
    answer = graph.call(
        "tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=["red", "blue"], keep_tracks=True)
    )
    assert answer.success and answer.version == 2 and "red, blue" in answer.message
    graph.show_until(lambda: any(len(message.tracks) == 2 for message in results))
    for message in results:
        concepts = {track.concept for track in message.tracks}
        assert "blue" not in concepts if message.concept_version < 2 else message.concept_version == 2
    assert next(message for message in results if message.concept_version == 2).tracks[0].id == 1  # red went on
    wait_for(lambda: [(message.version, list(message.concepts)) for message in latched][-1:] == [(2, ["red", "blue"])])
    late = graph.collect("tracker/concepts", ConceptSet, LATCHED)
    assert wait_for(lambda: late)[0].version == 2


def test_without_keep_tracks_ids_start_anew_but_go_upward(graph, tracker, results):
    tracker()
    graph.show_until(with_tracks(results))
    answer = graph.call("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=["red"], keep_tracks=False))
    assert answer.success
    new = graph.show_until(lambda: next((m for m in results if m.concept_version == answer.version and m.tracks), None))
    assert [track.id for track in new.tracks] == [2]


def test_topic_service_and_parameter_are_one_state(graph, tracker, results):
    node = tracker()
    talk = graph.probe.create_publisher(String, "tracker/concept", 1)
    wait_for(talk.get_subscription_count)
    talk.publish(String(data="blue, red"))
    wait_for(lambda: node.control.version == 2)
    request = GetParameters.Request(names=["concepts"])
    values = graph.call("tracker/get_parameters", GetParameters, request).values
    assert list(values[0].string_array_value) == ["blue", " red"] or list(values[0].string_array_value) == [
        "blue",
        "red",
    ]
    assert node.control.concepts == ("blue", "red")
    assert node.set_parameters([Parameter("concepts", value=["green"])])[0].successful
    wait_for(lambda: node.control.version == 3)
    graph.show_until(lambda: results and results[-1].concept_version == 3)
    assert node.set_parameters([Parameter("concepts", value="blue,red")])[0].successful  # as a launch file gives it
    wait_for(lambda: node.control.concepts == ("blue", "red"))


def test_asking_again_for_the_same_concepts_changes_nothing(graph, tracker, results):
    tracker()
    graph.show_until(with_tracks(results))
    answer = graph.call("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=["Red "], keep_tracks=True))
    assert answer.success and answer.version == 1


def test_concepts_that_the_bundle_does_not_claim_are_accepted_with_a_warning_that_lists_those_it_does(graph, tracker):
    node = tracker(concepts=["red"])
    answer = graph.call("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=["pale red", "zebra"]))
    assert answer.success and "does not claim to know zebra, " in answer.message
    wait_for(lambda: graph.complained("zebra"))
    (line,) = [line for line in graph.log if "zebra" in line]
    assert line in answer.message and "use one of red, " in line
    assert not node.control.problem


def test_reset_forgets_tracks_and_ids_go_on_upward(graph, tracker, results):
    tracker()
    graph.show_until(with_tracks(results))
    answer = graph.call("tracker/reset", Trigger, Trigger.Request())
    assert answer.success and answer.message.startswith("forgot 1 track")
    results.clear()
    graph.show_until(lambda: any(track.id == 2 for message in results for track in message.tracks))


@pytest.mark.parametrize("reliability", ["best_effort", "reliable"])
def test_it_hears_publishers_of_either_reliability_whenever_they_come(graph, tracker, results, reliability):
    node = tracker()
    graph.show_until(lambda: results, reliability=reliability)
    wait_for(lambda: node.subscription.reliability == reliability)
    results.clear()
    graph.show_until(lambda: len(results) > 2, reliability=reliability)


def test_compressed_images_come_on_their_own_topic(graph, tracker, results):
    tracker(image_transport="compressed")
    camera = graph.camera("image/compressed", kind=CompressedImage)

    def step():
        camera.publish(to_jpeg(blobs(), 95, Header(stamp=graph.stamp(), frame_id="camera")))
        time.sleep(0.03)
        return with_tracks(results)()

    assert wait_for(step).tracks[0].concept == "red"


def test_the_label_image_holds_ids_and_the_higher_score_wins(graph, tracker, results):
    tracker(concepts=["red", "blue"])
    labels = graph.collect("tracker/label_image", Image)
    graph.show_until(lambda: labels and results and len(results[-1].tracks) == 2)
    graph.show_until(lambda: len(np.unique(np.frombuffer(labels[-1].data, np.uint16))) == 3)
    assert labels[-1].encoding == "16UC1"
    picture = np.frombuffer(labels[-1].data, np.uint16).reshape(480, 640)
    ids = {track.concept: track.id for track in results[-1].tracks}
    assert picture[120, 160] == ids["red"] and picture[330, 450] == ids["blue"] and picture[0, 0] == 0


def test_nothing_is_drawn_for_a_label_image_that_nobody_wants(graph, tracker, results, monkeypatch):
    def forbidden(*_):
        raise AssertionError("drawn for nobody")

    monkeypatch.setattr("esam3_ros.publishers.label_image", forbidden)
    node = tracker()
    graph.show_until(with_tracks(results))
    assert node.stats.snapshot().counts.get("failed", 0) == 0


def test_a_frame_that_raises_costs_that_frame_only(graph, tracker, results, monkeypatch):
    node = tracker()
    graph.show_until(with_tracks(results))
    step = node.processor._tracker.step
    monkeypatch.setattr(node.processor._tracker, "step", lambda *_: 1 / 0)
    graph.show_until(lambda: node.stats.snapshot().counts.get("failed", 0) > 2)
    graph.show_until(lambda: "ZeroDivisionError" in graph.status("input").message)
    wait_for(lambda: graph.complained("ZeroDivisionError"))
    monkeypatch.setattr(node.processor._tracker, "step", step)
    assert graph.still_tracks(results)
    assert node.worker.alive


def test_the_newest_frame_wins_when_frames_come_faster_than_they_are_processed(graph, film, results, monkeypatch):
    film = film()
    node = film.node
    step, busy, go_on = node.processor._tracker.step, threading.Event(), threading.Event()

    def slow(*frame):
        busy.set()
        assert go_on.wait(PATIENCE)
        return step(*frame)

    film.show()  # whatever was shown before it is done with
    monkeypatch.setattr(node.processor._tracker, "step", slow)
    results.clear()
    dropped = node.stats.snapshot().counts.get("dropped", 0)
    sent = []
    for count in range(1, 7):
        received, _ = node.worker.mailbox.counts()
        sent.append(graph.show().header.stamp)
        wait_for(lambda received=received: node.worker.mailbox.counts()[0] > received, f"frame {count} to arrive")
        assert busy.wait(PATIENCE)  # the first is taken, the others come while it is worked on
    go_on.set()
    wait_for(lambda: len(results) == 2)
    assert [message.header.stamp for message in results] == [sent[0], sent[-1]]
    wait_for(lambda: _values(graph, "input").get("dropped") == str(dropped + 4))


def test_stamps_of_zero_are_replaced_by_the_arrival_for_the_tracker_only_and_are_nothing_to_warn_of(
    graph, tracker, results
):
    node = tracker(max_age=1.0)
    graph.show_until(with_tracks(results), stamp=Time())
    assert results[-1].header.stamp == Time()
    graph.show_until(lambda: graph.status("input").level == b"\x00", stamp=Time())
    assert not node.stats.snapshot().last_warning
    assert not graph.complained("stamps differ from this node's clock")


def test_stamps_of_another_clock_are_warned_of_and_their_images_processed(graph, tracker, results):
    tracker()
    graph.show_until(lambda: len(results) >= 3, stamp=Time(sec=5))
    graph.show_until(lambda: graph.warns("input", "stamps differ from this node's clock"), stamp=Time(sec=5))
    wait_for(lambda: graph.complained("stamps differ from this node's clock"))


def test_goes_up_and_down_twenty_times(graph, tracker, results):
    tracker(autostart=False)
    for _ in range(20):
        for transition in ("configure", "activate", "deactivate", "cleanup"):
            assert graph.transition(transition)
    assert not [thread for thread in threading.enumerate() if thread.name == "tracker"]
    graph.transition("configure")
    graph.transition("activate")
    graph.show_until(with_tracks(results))


def test_a_deactivated_node_is_silent_and_its_tracks_are_forgotten(graph, tracker, results):
    tracker()
    graph.show_until(with_tracks(results))
    graph.transition("deactivate")
    unseen = [time_of(graph.show().header.stamp) for _ in range(5)]
    graph.transition("activate")
    again = graph.show_until(lambda: next((m for m in results if m.tracks and m.tracks[0].id == 2), None))
    assert time_of(again.header.stamp) > unseen[-1]
    assert not {time_of(message.header.stamp) for message in results} & set(unseen)


def test_concepts_set_while_inactive_are_used_once_active(graph, tracker, results):
    tracker()
    graph.transition("deactivate")
    answer = graph.call("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=["blue"]))
    assert answer.success
    graph.transition("activate")
    assert graph.show_until(with_tracks(results)).tracks[0].concept == "blue"


def test_diagnostics_tell_rates_ages_tracks_and_the_model(graph, tracker, results):
    tracker()
    graph.show_until(lambda: "age p95 (ms)" in _values(graph, "inference"))
    graph.show_until(lambda: _values(graph, "tracks").get("alive") == "1")
    graph.show_until(lambda: graph.status("input").level == b"\x00")
    assert "/probe (reliable)" in _values(graph, "input")["publishers"]
    assert float(_values(graph, "inference")["engines p50 (ms)"]) > 0
    assert _values(graph, "tracks")["concept_version"] == "1"
    assert _values(graph, "model")["bundle"] == "colours"
    # This bundle has no TensorRT engines on any machine: `auto` says that it fell back, and why.
    assert re.match(r"onnxruntime, not tensorrt: .*\w", _values(graph, "model")["backend"])


def _values(graph, part):
    return {value.key: value.value for value in graph.status(part).values}
