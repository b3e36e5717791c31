# SPDX-License-Identifier: Apache-2.0
"""Showing things to the tracker node, and memory that outlives it, over real services."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from esam3_ros.msg import Track, TrackArray
from esam3_ros.srv import AddExemplar, AddObject, MemoryFile, RemoveObject, SetConcepts
from geometry_msgs.msg import Point32
from sensor_msgs.msg import RegionOfInterest
from std_srvs.srv import Trigger

from esam3_core.runtime import CroppedMask
from esam3_ros import masks
from esam3_ros.demo_nodes import NodeSpec
from esam3_ros.processes import Nodes
from tests.colour_bundle import disc, draw_blobs
from tests.colour_memory import write_memory_bundle
from tests.ros.conftest import held, wait_for

BLUE_BOX = RegionOfInterest(x_offset=390, y_offset=270, width=120, height=120)


@pytest.fixture(scope="session")
def remembering(tmp_path_factory) -> Path:
    """The colour bundle with memory and exemplars."""
    return write_memory_bundle(tmp_path_factory.mktemp("bundles") / "memory")


@pytest.fixture
def node(tracker, remembering):
    """A tracker node that remembers, looking for red."""
    return tracker(bundle=str(remembering))


def newest(results):
    return {track.id: (track.concept, track.state) for track in results[-1].tracks} if results else {}


def test_an_object_is_followed_from_the_image_that_it_was_shown_on(graph, film, remembering):
    film = film(bundle=str(remembering))
    stamp = film.show(times=3).header.stamp
    away = draw_blobs([("red", 160, 120, 50), ("blue", 400, 300, 60)])
    film.show(away, times=4)
    answer = graph.call("tracker/add_object", AddObject, AddObject.Request(stamp=stamp, roi=BLUE_BOX, concept="my cup"))
    assert answer.success and answer.id == 2 and "my cup" in answer.message
    first, second = film.show(away), film.show(away)
    assert [(track.id, track.state) for track in first.tracks] == [(1, Track.TRACKED), (2, Track.NEW)]
    track = second.tracks[1]
    assert (track.concept, track.state) == ("my cup", Track.TRACKED)
    truth = disc(400, 300, 60)
    assert (masks.unpack(track.mask, 480, 640) & truth).sum() > 0.85 * truth.sum()


@pytest.mark.parametrize("way", ["points", "mask"])
def test_points_and_masks_show_an_object_too(graph, node, results, way):
    graph.show_until(lambda: results)
    request = AddObject.Request()
    if way == "points":
        request.positive, request.negative = [Point32(x=450.0, y=330.0)], [Point32(x=160.0, y=120.0)]
    else:
        request.mask = masks.pack(CroppedMask.from_full(disc(450, 330, 60)))
    assert graph.call("tracker/add_object", AddObject, request).success
    graph.show_until(lambda: any(state == Track.TRACKED and not name for name, state in newest(results).values()))


def test_what_was_hidden_for_long_comes_back_with_its_id(film, remembering):
    film = film(bundle=str(remembering))
    nothing = draw_blobs([])
    assert [track.state for track in film.show(times=3).tracks] == [Track.TRACKED]
    hidden = film.show(nothing, times=25)  # for 1.7 s, longer than max_age
    assert [(track.id, track.state) for track in hidden.tracks] == [(1, Track.OCCLUDED)]
    back = film.show(draw_blobs([("red", 200, 150, 50)]), times=2)
    assert [(track.id, track.state) for track in back.tracks] == [(1, Track.TRACKED)]


def test_a_track_is_removed(graph, node, results):
    graph.show_until(lambda: results)
    number = graph.call("tracker/add_object", AddObject, AddObject.Request(roi=BLUE_BOX)).id
    graph.show_until(lambda: number in newest(results))
    assert graph.call("tracker/remove_object", RemoveObject, RemoveObject.Request(id=number)).success
    graph.show_until(lambda: number not in newest(results))
    answer = graph.call("tracker/remove_object", RemoveObject, RemoveObject.Request(id=number))
    assert not answer.success and f"no track has the id {number}" in answer.message


def test_an_exemplar_finds_everything_alike_and_names_the_first_frame_searched_with_it(graph, node, results):
    graph.show_until(lambda: 1 in newest(results))
    answer = graph.call("tracker/add_exemplar", AddExemplar, AddExemplar.Request(positive=[BLUE_BOX], concept="toy"))
    assert answer.success and answer.version == 2 and answer.concept == "toy"
    assert node.control.concepts == ("red", "toy") and list(node.get_parameter("concepts").value) == ["red", "toy"]
    picture = draw_blobs([("red", 160, 120, 50), ("blue", 450, 330, 60), ("blue", 450, 100, 40)])
    graph.show_until(lambda: len(newest(results)) == 3, picture=picture)
    for message in results:
        names = {track.concept for track in message.tracks}
        assert names <= ({"red", "toy"} if message.concept_version == 2 else {"red"})
    assert sorted(name for name, _ in newest(results).values()) == ["red", "toy", "toy"]


def test_concepts_asked_for_while_an_exemplar_is_on_its_way_are_what_counts_in_the_end(graph, node, results):
    graph.show_until(lambda: 1 in newest(results))
    with held(node.worker):
        shown = graph.ask("tracker/add_exemplar", AddExemplar, AddExemplar.Request(positive=[BLUE_BOX], concept="toy"))
        wait_for(lambda: node.control._newest.action is not None, "the exemplar to be on its way")
        # What was in force before the exemplar, and will not be after it unless this is a change of its own.
        back = graph.ask("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=["red"], keep_tracks=True))
        wait_for(lambda: node.control._newest.action is None, "the other concepts to be on their way")
    wait_for(lambda: shown.done() and back.done())
    assert (shown.result().success, shown.result().version) == (True, 2)
    assert (back.result().success, back.result().version) == (True, 3)
    assert node.control.concepts == ("red",) and list(node.get_parameter("concepts").value) == ["red"]


def test_what_cannot_be_shown_is_refused_and_the_node_goes_on(graph, node, results):
    early = graph.call("tracker/add_object", AddObject, AddObject.Request(roi=BLUE_BOX))
    assert not early.success and "no image was processed yet" in early.message
    graph.show_until(lambda: 1 in newest(results))
    outside = RegionOfInterest(x_offset=5000, y_offset=10, width=10, height=10)
    torn = masks.pack(CroppedMask.from_full(disc(100, 100, 30)))
    torn.data = torn.data[:-3]
    foreign = masks.pack(CroppedMask.from_full(disc(1000, 100, 30, (300, 1200))))
    for request, reason in (
        (AddObject.Request(), "nothing shows the object"),
        (AddObject.Request(roi=outside), "outside the frame"),
        (AddObject.Request(positive=[Point32(x=float("nan"), y=1.0)]), "outside the frame"),
        (AddObject.Request(roi=BLUE_BOX, stamp=Time(sec=5)), "give the stamp of a TrackArray"),
        (AddObject.Request(mask=torn), "bytes cannot be a mask"),
        (AddObject.Request(mask=foreign), "leaves the frame"),
    ):
        answer = graph.call("tracker/add_object", AddObject, request)
        assert not answer.success and reason in answer.message
    for request, reason in (
        (AddExemplar.Request(), "no exemplar is given"),
        (AddExemplar.Request(negative=[BLUE_BOX], concept="toy"), "negative exemplars only"),
        (AddExemplar.Request(positive=[outside]), "outside the frame"),
        (AddExemplar.Request(positive=[BLUE_BOX], concept="x" * 100), "100 characters"),
        (AddExemplar.Request(positive=[BLUE_BOX] * 9, concept="toy"), "this bundle takes 4"),
    ):
        answer = graph.call("tracker/add_exemplar", AddExemplar, request)
        assert not answer.success and reason in answer.message
    assert node.control.concepts == ("red",)
    graph.show_until(lambda: newest(results) == {1: ("red", Track.TRACKED)})
    assert node.worker.alive and node.stats.snapshot().counts.get("failed", 0) == 0


def test_what_was_saved_goes_on_in_another_node_with_its_ids(graph, node, results, tracker, remembering, tmp_path):
    graph.show_until(lambda: 1 in newest(results))
    graph.call("tracker/add_exemplar", AddExemplar, AddExemplar.Request(positive=[BLUE_BOX], concept="toy"))
    graph.show_until(lambda: len(newest(results)) == 2)
    graph.call("tracker/add_object", AddObject, AddObject.Request(roi=BLUE_BOX, concept="mine"))
    graph.show_until(lambda: len(newest(results)) == 3)
    before = newest(results)
    path = str(tmp_path / "kitchen")
    answer = graph.call("tracker/save_memory", MemoryFile, MemoryFile.Request(path=path))
    assert answer.success and answer.tracks == 3
    graph.stop(node)
    second = tracker(bundle=str(remembering), concepts=["green"])
    answer = graph.call("tracker/load_memory", MemoryFile, MemoryFile.Request(path=path))
    assert answer.success and answer.tracks == 3 and "loaded 3 tracks" in answer.message
    assert second.control.concepts == ("red", "toy")
    later = graph.collect("tracker/tracks", TrackArray)
    graph.show_until(lambda: newest(later).keys() == before.keys())
    assert {number: name for number, (name, _) in newest(later).items()} == {
        number: name for number, (name, _) in before.items()
    }
    graph.show_until(lambda: all(state == Track.TRACKED for _, state in newest(later).values()))
    green = draw_blobs([("red", 160, 120, 50), ("blue", 450, 330, 60), ("red", 560, 90, 45)])
    graph.show_until(lambda: 4 in newest(later), picture=green)  # ids go on upward


def test_a_node_that_was_killed_goes_on_with_what_it_saved(graph, results, remembering, tmp_path):
    """Two processes, the first of which gets no chance to tidy up; the second has a namespace of its own, because ROS
    takes long to notice that the first and its services are gone."""
    parameters = {"bundle": str(remembering), "concepts": ["red"], "threads": 1, "max_frame_age": 0.0}
    spec = NodeSpec("tracker", graph.namespace, parameters)
    other = NodeSpec(
        "tracker",
        f"{graph.namespace}/other",
        {**parameters, "concepts": []},
        (("image", f"{graph.namespace}/image"),),
    )
    later = graph.collect("other/tracker/tracks", TrackArray)
    path = MemoryFile.Request(path=str(tmp_path / "kitchen"))
    with Nodes([spec], tmp_path / "first") as nodes:
        graph.show_until(lambda: 1 in newest(results))
        number = graph.call("tracker/add_object", AddObject, AddObject.Request(roi=BLUE_BOX, concept="mine")).id
        assert graph.call("tracker/save_memory", MemoryFile, path).tracks == 2
        os.kill(nodes.pids()["tracker"], signal.SIGKILL)
    with Nodes([other], tmp_path / "second"):
        graph.show_until(lambda: later)
        assert graph.call("other/tracker/load_memory", MemoryFile, path).tracks == 2
        goal = {1: ("red", Track.TRACKED), number: ("mine", Track.TRACKED)}
        graph.show_until(lambda: newest(later) == goal)


def test_a_bad_file_is_refused_and_the_node_goes_on(graph, node, results, tmp_path):
    graph.show_until(lambda: 1 in newest(results))
    path = tmp_path / "m"
    assert graph.call("tracker/save_memory", MemoryFile, MemoryFile.Request(path=str(path))).success
    path.write_bytes(path.read_bytes()[:-9])
    for given, reason in ((path, "damaged"), (tmp_path / "none", "does not exist"), ("", "the path is empty")):
        answer = graph.call("tracker/load_memory", MemoryFile, MemoryFile.Request(path=str(given)))
        assert not answer.success and reason in answer.message
    answer = graph.call("tracker/save_memory", MemoryFile, MemoryFile.Request(path="/dev/null/m"))
    assert not answer.success and "cannot be written" in answer.message
    graph.show_until(lambda: newest(results) == {1: ("red", Track.TRACKED)})
    assert node.control.concepts == ("red",)


def test_a_bundle_without_memory_says_so(graph, tracker, results):
    node = tracker()
    graph.show_until(lambda: 1 in newest(results))
    shown = graph.call("tracker/add_object", AddObject, AddObject.Request(roi=BLUE_BOX))
    saved = graph.call("tracker/save_memory", MemoryFile, MemoryFile.Request(path="m"))
    for answer in (shown, saved):
        assert not answer.success and "no memory in this bundle" in answer.message
    alike = graph.call("tracker/add_exemplar", AddExemplar, AddExemplar.Request(positive=[BLUE_BOX]))
    assert not alike.success and "no exemplar_encoder in this bundle" in alike.message
    assert node.worker.alive


def test_a_node_that_must_remember_does_not_configure_without_memory(graph, tracker):
    node = tracker(tracker="memory")
    assert node.state == "unconfigured" and "the tracker iou" in node.problem


def test_diagnostics_tell_of_memory_and_its_engines(graph, node, results):
    def values(part):
        return {value.key: value.value for value in graph.status(part).values}

    graph.show_until(lambda: "propagator p50 (ms)" in values("inference"))
    assert float(values("inference")["engines p50 (ms)"]) >= float(values("inference")["propagator p50 (ms)"])
    assert values("model")["memory"] == "perceiver"


def test_a_reset_forgets_what_was_shown(graph, node, results):
    graph.show_until(lambda: results)
    graph.call("tracker/add_object", AddObject, AddObject.Request(roi=BLUE_BOX))
    graph.show_until(lambda: len(newest(results)) == 2)
    assert graph.call("tracker/reset", Trigger, Trigger.Request()).success
    graph.show_until(lambda: newest(results) == {3: ("red", Track.TRACKED)})


FORGETTING = {
    "reset": ("reset", Trigger, Trigger.Request()),
    "other concepts": ("set_concepts", SetConcepts, SetConcepts.Request(concepts=["green"], keep_tracks=False)),
}


@pytest.mark.parametrize("way", FORGETTING)
def test_images_stay_at_hand_when_tracks_are_forgotten(graph, film, remembering, way):
    name, kind, request = FORGETTING[way]
    stamp = film(bundle=str(remembering)).show(times=3).header.stamp
    assert graph.call(f"tracker/{name}", kind, request).success
    for given in (stamp, Time()):  # before another frame was processed
        answer = graph.call("tracker/add_object", AddObject, AddObject.Request(stamp=given, roi=BLUE_BOX))
        assert answer.success, answer.message


def test_images_of_a_stream_that_started_anew_or_was_left_are_not_at_hand(graph, film, remembering):
    film = film(bundle=str(remembering))

    def refusal(stamp):
        return graph.call("tracker/add_object", AddObject, AddObject.Request(stamp=stamp, roi=BLUE_BOX)).message

    before = film.show(times=3).header.stamp
    looped = film.show_at(before.sec - 30.0).header.stamp
    assert "is among the last 1 processed ones" in refusal(before)
    smaller = film.show(np.ascontiguousarray(draw_blobs([])[::2, ::2])).header.stamp
    assert "is among the last 1 processed ones" in refusal(looped)
    assert graph.transition("deactivate")
    assert "no image was processed yet" in refusal(smaller)
