# SPDX-License-Identifier: Apache-2.0
"""Parameters: one source of defaults, ranges that hold, and every change has its effect."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from esam3_ros.msg import Track
from rcl_interfaces.srv import DescribeParameters
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

from esam3_core.config import (
    CameraConfig,
    DetectorConfig,
    NodeConfig,
    OverlayConfig,
    RuntimeConfig,
    TrackerConfig,
)
from esam3_ros.camera import CameraNode
from esam3_ros.overlay import OverlayNode
from esam3_ros.specs import CAMERA, OVERLAY, TRACKER
from tests.colour_bundle import draw_blobs, write_colour_bundle
from tests.ros.conftest import wait_for

ROOT = Path(__file__).resolve().parents[2]
PACKAGE_YAML = (ROOT / "config/tracker.yaml").read_text()


@pytest.mark.parametrize(
    ("specs", "configs"),
    [
        (TRACKER, (NodeConfig, RuntimeConfig, DetectorConfig, TrackerConfig)),
        (OVERLAY, (OverlayConfig,)),
        (CAMERA, (CameraConfig,)),
    ],
)
def test_every_field_of_the_dataclasses_is_a_parameter_and_the_other_way_round(specs, configs):
    fields = [field.name for config in configs for field in dataclasses.fields(config)]
    assert sorted(spec.name for spec in specs) == sorted(fields)
    assert len(set(fields)) == len(fields)


@pytest.mark.parametrize("spec", [*TRACKER, *OVERLAY, *CAMERA], ids=lambda spec: spec.name)
def test_every_default_is_possible(spec):
    assert not spec.refusal(spec.default)
    if spec.limits:
        assert spec.limits[0] <= spec.default <= spec.limits[1]
    assert spec.description and not spec.description.endswith(".")


def test_the_yaml_file_shows_every_parameter_with_its_default():
    shown = dict(re.findall(r"^ {4}(?:# )?([a-z_]+): (.*?)\s*(?:#.*)?$", PACKAGE_YAML, re.MULTILINE))
    values = {name: yaml.safe_load(value) for name, value in shown.items()}
    assert values == {"concepts": [], **{spec.name: spec.default for spec in TRACKER}}


def test_what_the_bundle_may_tune_is_not_set_by_the_yaml_file():
    active = yaml.safe_load(PACKAGE_YAML)["/**"]["ros__parameters"]
    tuned = {field.name for config in (DetectorConfig, TrackerConfig) for field in dataclasses.fields(config)}
    assert not tuned & set(active)


def test_the_yaml_file_starts_a_node(graph, colours):
    from esam3_ros.tracker import TrackerNode

    node = graph.spin(
        TrackerNode(
            namespace=graph.namespace,
            cli_args=["--ros-args", "--params-file", str(ROOT / "config/tracker.yaml"), "-p", f"bundle:={colours}"],
        )
    )
    wait_for(lambda: node.state == "active" or node.problem)
    assert not node.problem


@pytest.mark.parametrize("topic", ["tracks", "concepts", "label_image"])
def test_quality_of_service_is_overridden_for_one_publisher_and_for_no_other(graph, tracker, topic):
    tracker(**{f"qos_overrides.{graph.namespace}/tracker/{topic}.publisher.reliability": "best_effort"})

    def profiles():
        names = {name: f"{graph.namespace}/tracker/{name}" for name in ("tracks", "concepts", "label_image")}
        found = {name: graph.probe.get_publishers_info_by_topic(full) for name, full in names.items()}
        return {name: infos[0].qos_profile for name, infos in found.items()} if all(found.values()) else None

    offered = wait_for(profiles, "all publishers")
    assert [name for name, one in offered.items() if one.reliability is ReliabilityPolicy.BEST_EFFORT] == [topic]
    assert [name for name, one in offered.items() if one.durability is DurabilityPolicy.TRANSIENT_LOCAL] == ["concepts"]


def test_ros_describes_every_parameter_with_its_range(graph, tracker):
    tracker()
    names = [spec.name for spec in TRACKER]
    described = graph.call("tracker/describe_parameters", DescribeParameters, DescribeParameters.Request(names=names))
    for spec, descriptor in zip(TRACKER, described.descriptors, strict=True):
        assert descriptor.description == spec.description
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        assert [(one.from_value, one.to_value) for one in ranges] == ([spec.limits] if spec.limits else [])
        assert all(choice in descriptor.additional_constraints for choice in spec.choices)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("score_threshold", 1.5, "out of range"),
        ("score_threshold", float("nan"), "out of range"),
        ("min_hits", 0, "out of range"),
        ("max_age", 3, "type"),
        ("bundle", "other", "cleanup"),
        ("image_transport", "compressed", "cleanup"),
        ("max_tracks", 3, "cleanup"),
        ("autostart", False, "read-only"),
    ],
)
def test_changes_that_cannot_be_are_refused_with_the_reason(graph, tracker, name, value, reason):
    node = tracker()
    before = node.get_parameter(name).value
    result = node.set_parameters([Parameter(name, value=value)])[0]
    assert not result.successful and reason in result.reason
    assert node.get_parameter(name).value == before


def test_several_changes_are_made_together_or_not_at_all(graph, tracker):
    node = tracker()
    given = {"max_rate": 5.0, "score_threshold": 0.9, "concepts": 1}
    changes = [Parameter(name, value=value) for name, value in given.items()]
    assert not node.set_parameters_atomically(changes).successful
    assert node.processor.settings.node.max_rate == 0.0
    assert node.processor.settings.detector.score_threshold == DetectorConfig().score_threshold


def test_thresholds_that_nobody_sets_are_the_bundles(graph, tracker, tmp_path):
    bundle = write_colour_bundle(tmp_path / "tuned", detector={"score_threshold": 0.35}, tracker={"max_age": 2.5})
    node = tracker(bundle=str(bundle), max_age=4.0)
    assert node.get_parameter("score_threshold").value == 0.35
    assert node.processor.settings.detector.score_threshold == 0.35
    assert node.processor.settings.tracker.max_age == 4.0  # somebody set this one
    assert node.set_parameters([Parameter("score_threshold", value=0.6)])[0].successful
    graph.transition("deactivate")
    graph.transition("cleanup")
    graph.transition("configure")
    assert node.get_parameter("score_threshold").value == 0.6  # and now this one too


@pytest.mark.parametrize(
    ("make", "name", "value", "words"),
    [
        (OverlayNode, "image_transport", "theora", "image_transport cannot be 'theora': use one of raw, compressed"),
        (OverlayNode, "image_reliability", "most", "image_reliability cannot be 'most'"),
        (OverlayNode, "history", 0, "history"),
        (CameraNode, "reliability", "besteffort", "use one of reliable, best_effort"),
        (CameraNode, "rate", 10, "takes a double such as 15.0"),
    ],
)
def test_overlay_and_camera_start_with_the_default_of_what_cannot_be_and_say_so(
    graph, tmp_path, make, name, value, words
):
    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 8, 3), np.uint8))
    source = {"source": str(tmp_path)} if make is CameraNode else {}
    node = graph.start(make, **source, **{name: value})
    wait_for(lambda: graph.complained(words, "the default is used"))
    spec = node.parameters.spec(name)
    assert node.get_parameter(name).value == getattr(node.config, name) == spec.default
    assert not node.set_parameters([Parameter(name, value=spec.default)])[0].successful  # fixed all the same


def shows(results, count):
    return lambda: results and sum(track.state != Track.OCCLUDED for track in results[-1].tracks) == count


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score_threshold", 1.0),  # nothing is that sure
        ("min_area", 20_000),
        ("max_rate", 0.1),
        ("concepts", ["green"]),
        ("concepts", []),
    ],
)
def test_a_change_of_what_is_found_works_from_the_next_frame_on(graph, tracker, results, name, value):
    node = tracker(max_age=0.0)
    graph.show_until(shows(results, 1))
    change = Parameter(name, Parameter.Type.STRING_ARRAY, []) if value == [] else Parameter(name, value=value)
    assert node.set_parameters([change])[0].successful
    if name == "max_rate":
        graph.show_until(lambda: node.stats.snapshot().counts.get("rate", 0) > 3)
    else:
        graph.show_until(shows(results, 0))


def test_mask_threshold_moves_the_border(film):
    film = film()
    areas = []
    for threshold in (0.1, 0.9):
        film.node.set_parameters([Parameter("mask_threshold", value=threshold)])
        mask = film.show(times=2).tracks[0].mask
        areas.append(np.unpackbits(np.frombuffer(mask.data, np.uint8)).sum())
    assert areas[0] > areas[1]


def test_new_score_and_min_hits_decide_when_a_track_begins(film):
    film = film(new_score=1.0)
    assert not any(film.show().tracks for _ in range(4))
    film.node.set_parameters([Parameter("new_score", value=0.5), Parameter("min_hits", value=6)])
    assert [len(film.show().tracks) for _ in range(7)] == [0, 0, 0, 0, 0, 1, 1]


def test_max_age_decides_how_long_a_hidden_track_is_remembered(film):
    film, empty = film(max_age=30.0), draw_blobs([])
    film.show(times=2)
    assert film.show(empty, times=10).tracks[0].state == Track.OCCLUDED  # unseen for 0.67 s
    film.node.set_parameters([Parameter("max_age", value=1.0)])
    assert film.show(empty, times=4).tracks
    assert not film.show(empty, times=2).tracks


def test_detect_every_runs_the_detector_on_every_nth_frame(film):
    film = film(detect_every=4)
    searched = []
    for _ in range(12):
        film.show()
        searched.append(film.node.processor._student.timings.get("detector", 0.0) > 0)
    assert sum(searched[:4]) == 1 and searched == searched[:4] * 3, searched


@pytest.mark.parametrize("limit", [1, 2])
def test_max_tracks_limits_them(graph, tracker, results, limit):
    tracker(concepts=["red", "blue"], max_tracks=limit)
    graph.show_until(lambda: len(results) > 6)
    assert max(len(message.tracks) for message in results) == limit


def test_max_concepts_limits_them(graph, tracker):
    node = tracker(max_concepts=2)
    assert "at most 2" in node.set_parameters([Parameter("concepts", value=["a", "b", "c"])])[0].reason


def test_match_iou_and_reach_decide_what_goes_on(film):
    film = film(reach=0.0, match_iou=0.9, max_age=0.0)

    def jumping(count):
        """The ids of tracks while the blob jumps to and fro."""
        blobs = (draw_blobs([("red", 160 + 60 * (index % 2), 120, 50)]) for index in range(count))
        return {track.id for picture in blobs for track in film.show(picture).tracks}

    assert not jumping(10)  # each jump is another instance, too short-lived to be confirmed
    film.node.set_parameters([Parameter("reach", value=2.0)])
    assert jumping(4) == jumping(10) == {1}  # near enough is the same now


def test_latency_warn_warns(graph, tracker, results):
    node = tracker(latency_warn=0.0001)
    graph.show_until(lambda: graph.status("inference").level == b"\x01")
    assert "latency_warn" in graph.status("inference").message
    node.set_parameters([Parameter("latency_warn", value=10.0)])
    graph.show_until(lambda: graph.status("inference").level == b"\x00")


def test_settings_are_swapped_in_one_piece(graph, tracker):
    node = tracker()
    before = node.processor.settings
    node.set_parameters_atomically(
        [Parameter("match_iou", value=0.4), Parameter("min_area", value=10), Parameter("max_rate", value=3.0)]
    )
    after = node.processor.settings
    assert (after.tracker.match_iou, after.detector.min_area, after.node.max_rate) == (0.4, 10, 3.0)
    assert before.tracker.match_iou == TrackerConfig().match_iou


def test_a_misspelt_parameter_is_named_with_the_one_that_was_meant(graph, tracker):
    tracker(score_treshold=0.3, concept="red", history=5)  # the last one is the overlay's, and one file may be for both
    wait_for(lambda: graph.complained("nobody has a parameter score_treshold", "did you mean score_threshold?"))
    wait_for(lambda: graph.complained("nobody has a parameter concept,", "did you mean concepts?"))
    assert not graph.complained("history")
