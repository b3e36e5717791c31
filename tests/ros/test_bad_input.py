# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in, the tracker node stays up, says what is wrong in log and diagnostics, and goes on."""

from __future__ import annotations

import itertools
import shutil
import time
from array import array

import numpy as np
import pytest
import rclpy
import yaml
from esam3_ros.msg import Track
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from esam3_ros.conversions import seconds, to_image
from esam3_ros.tracker import TrackerNode
from tests.ros.conftest import blobs, wait_for

ERROR = b"\x02"
NAN = np.full((480, 640), np.nan, np.float32)


def image(graph, **changes):
    message = to_image(blobs(), "rgb8", Header(stamp=graph.stamp(), frame_id="camera"))
    for name, value in changes.items():
        setattr(message, name, value)
    return message


BAD_IMAGES = {
    "an unknown encoding": ({"encoding": "yuv422_yuy2"}, ("yuv422_yuy2", "cv_bridge")),
    "an encoding without sense": ({"encoding": ""}, ("encoding ''",)),
    "16-bit grey": ({"encoding": "mono16"}, ("mono16", "rgb8, bgr8")),
    "16-bit colour": ({"encoding": "rgb16"}, ("rgb16", "cv_bridge")),
    "depth of NaN": ({"encoding": "32FC1", "step": 2560, "data": array("B", NAN.tobytes())}, ("32FC1", "cv_bridge")),
    "a step shorter than a row": ({"step": 640}, ("step 640 is shorter", "1920 bytes")),
    "a step of zero": ({"step": 0}, ("step 0 is shorter",)),
    "no width": ({"width": 0}, ("0x480 is impossible",)),
    "no height": ({"height": 0}, ("640x0 is impossible",)),
    "an absurd size": ({"width": 2**31}, ("is impossible",)),
    "no data": ({"data": array("B")}, ("data has 0 bytes", "needs 921600")),
    "half the data": ({"data": array("B", bytes(460800))}, ("data has 460800 bytes", "truncated")),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_explained_and_skipped(graph, tracker, results, case):
    changes, words = BAD_IMAGES[case]
    node = tracker()
    wait_for(graph.camera().get_subscription_count)

    def bad_frame():
        graph.camera().publish(image(graph, **changes))
        time.sleep(0.03)
        return node.stats.snapshot().counts.get("bad", 0) >= 3

    def told():
        bad_frame()
        return graph.status("input").level == ERROR and words[0] in graph.status("input").message

    wait_for(bad_frame, "bad frames to be counted")
    wait_for(told, f"diagnostics with {words[0]}")
    wait_for(lambda: graph.complained(*words), f"a log line with {words}")
    assert not results
    assert graph.still_tracks(results)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0 half a JPEG"])
def test_a_broken_compressed_image_is_explained_and_skipped(graph, tracker, results, data):
    node = tracker(image_transport="compressed")
    camera = graph.camera("image/compressed", kind=CompressedImage)
    wait_for(camera.get_subscription_count)

    def bad_frame():
        camera.publish(CompressedImage(header=Header(stamp=graph.stamp()), format="jpeg", data=array("B", data)))
        time.sleep(0.03)
        return node.stats.snapshot().counts.get("bad", 0) >= 2

    def told():
        bad_frame()
        return graph.status("input").level == ERROR and "send JPEG or PNG" in graph.status("input").message

    wait_for(bad_frame)
    wait_for(told)
    wait_for(lambda: graph.complained("cannot be decoded", "send JPEG or PNG"))
    assert node.worker.alive


def test_depth_of_nan_and_camera_info_of_zeros_are_nobodys_business(graph, tracker, results):
    node = tracker()
    depth = graph.probe.create_publisher(Image, "depth", 1)
    info = graph.probe.create_publisher(CameraInfo, "camera_info", 1)
    depth.publish(to_image(NAN, "32FC1", Header(stamp=graph.stamp())))
    info.publish(CameraInfo(header=Header(stamp=graph.stamp())))
    assert graph.still_tracks(results)
    assert not depth.get_subscription_count() and not info.get_subscription_count()
    assert not {"bad", "failed"} & node.stats.snapshot().counts.keys()


def test_a_stamp_that_goes_back_resets_the_tracks_and_says_so(graph, film):
    film = film()
    early = seconds(graph.stamp()) - 30
    assert film.show(times=2).tracks
    assert not film.show_at(early).tracks  # known to nobody yet: min_hits frames confirm it
    assert film.node.processor.tracks.resets == 1
    assert film.show().tracks
    wait_for(lambda: graph.complained("stamp went back", "bag loops"))
    wait_for(lambda: film.show_at(early) and graph.warns("input", "stamp went back"))


def test_frames_older_than_max_frame_age_are_dropped_and_the_remedy_is_named(graph, tracker, results):
    node = tracker(max_frame_age=0.5)

    def late_frame():
        late = graph.stamp()
        late.sec -= 5
        graph.show(stamp=late)
        time.sleep(0.03)
        return node.stats.snapshot().counts.get("stale", 0) >= 3

    wait_for(late_frame)
    wait_for(lambda: late_frame() and graph.warns("input", "older than max_frame_age"))
    wait_for(lambda: graph.complained("older than max_frame_age", "use_sim_time:=true"))
    assert not results


def test_a_bag_that_loops_starts_anew_each_time_and_ids_go_upward(graph, film):
    film = film()
    start = seconds(graph.stamp()) + 1
    laps = [[film.show_at(start + 0.033 * index) for index in range(6)] for _ in range(3)]
    for lap, messages in enumerate(laps, start=1):
        assert [[track.id for track in message.tracks] for message in messages] == [[], *[[lap]] * 5]
        assert messages[1].tracks[0].state == Track.NEW
    assert film.node.processor.tracks.resets == 2
    wait_for(lambda: graph.complained("bag loops"))
    wait_for(lambda: film.show_at(start + 1) and film.show_at(start) and graph.warns("input", "bag loops"))


def test_images_of_another_size_reset_the_tracks(graph, tracker, results):
    tracker()
    graph.show_until(lambda: any(message.tracks for message in results))
    small = np.ascontiguousarray(blobs()[::2, ::2])
    graph.show_until(lambda: results[-1].width == 320, picture=small)
    wait_for(lambda: graph.complained("image size changed"))
    sizes = itertools.cycle((small, blobs()))

    def warned():
        graph.show(next(sizes))
        time.sleep(0.03)
        return graph.warns("input", "image size changed")

    wait_for(warned)
    assert graph.still_tracks(results)


def test_a_topic_without_publisher_is_named_with_its_likes(graph, tracker):
    graph.camera("imagine")  # the name that was meant
    tracker()
    wait_for(lambda: graph.complained(f"{graph.namespace}/image", "no publisher", f"{graph.namespace}/imagine"))
    wait_for(lambda: graph.warns("input", "no publisher"))


def test_a_silent_publisher_is_named_with_its_reliability(graph, tracker):
    graph.camera(reliability="best_effort")
    tracker()
    wait_for(lambda: graph.complained("although it has 1 publisher", "/probe (best_effort)"))


def test_a_publisher_of_another_type_is_named_with_its_type(graph, tracker):
    elsewhere = rclpy.Context()  # DDS allows one type per topic and process
    rclpy.init(context=elsewhere)
    other = Node("other", namespace=graph.namespace, context=elsewhere)
    other.create_publisher(CompressedImage, "image", 1)
    tracker()
    wait_for(lambda: graph.complained("sensor_msgs/msg/CompressedImage", "image_transport"))
    other.destroy_node()
    rclpy.shutdown(context=elsewhere)


def test_an_activation_that_fails_leaves_the_node_configured_and_can_be_tried_again(graph, tracker, results):
    node = tracker(autostart=False)
    blocker = graph.probe.create_publisher(CompressedImage, "image", 1)
    assert graph.transition("configure")
    assert not graph.transition("activate")  # another type on this topic, in this very process
    wait_for(lambda: graph.status("model").level == ERROR)
    assert node.state == "inactive"
    graph.probe.destroy_publisher(blocker)
    wait_for(lambda: graph.transition("activate"))  # the publisher goes once nobody waits on it
    assert graph.still_tracks(results)


def test_a_publisher_that_cannot_match_is_an_error_with_the_remedy(graph, tracker, results):
    node = tracker(image_reliability="reliable")
    graph.show(reliability="best_effort")
    wait_for(lambda: graph.complained("does not match", "image_reliability:=auto"))
    wait_for(lambda: graph.status("input").level == ERROR and "does not match" in graph.status("input").message)
    assert node.state == "active"


def _missing(folder):
    return folder / "nowhere", "no bundle"


def _not_a_bundle(folder):
    return folder, "not a bundle"


def _truncated(folder):
    path = folder / "detector.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    return folder, "checksum"


def _lost_a_file(folder):
    (folder / "text_encoder.onnx").unlink()
    return folder, "text_encoder.onnx is missing"


def _newer(folder):
    card = yaml.safe_load((folder / "student.yaml").read_text())
    (folder / "student.yaml").write_text(yaml.safe_dump({**card, "format": 999}))
    return folder, "bundle format 999"


@pytest.mark.parametrize("spoil", [_missing, _not_a_bundle, _truncated, _lost_a_file, _newer])
def test_a_bundle_that_cannot_be_loaded_leaves_the_node_unconfigured_with_the_reason(
    graph, colours, results, tmp_path, spoil
):
    folder = tmp_path / "spoilt"
    if spoil is _not_a_bundle:
        folder.mkdir()
    else:
        shutil.copytree(colours, folder)
    path, words = spoil(folder)
    node = graph.start(TrackerNode, bundle=str(path), concepts=["red"], diagnostic_period=0.2)
    wait_for(lambda: graph.complained(words), words)
    wait_for(lambda: graph.status("model").level == ERROR and words in graph.status("model").message)
    assert node.state == "unconfigured"
    # The remedy works without a restart.
    assert node.set_parameters([Parameter("bundle", value=str(colours))])[0].successful
    assert graph.transition("configure") and graph.transition("activate")
    assert graph.still_tracks(results)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"score_threshold": 7.0}, "score_threshold"),
        ({"max_rate": 10}, "takes a double such as 0.0"),
        ({"image_transport": "theora"}, "raw, compressed"),
        ({"backend": "tensorflow"}, "auto, onnxruntime, tensorrt"),
        ({"device": "tpu"}, "unknown device"),
        ({"backend": "tensorrt", "device": "cpu"}, "backend tensorrt needs a GPU: use device=auto"),
        ({"backend": "tensorrt"}, "use backend=onnxruntime"),  # this bundle has no engines on any machine
    ],
)
def test_a_parameter_that_cannot_be_leaves_the_node_unconfigured_with_the_reason(graph, colours, given, words):
    node = graph.start(TrackerNode, bundle=str(colours), diagnostic_period=0.2, **given)
    wait_for(lambda: graph.complained(words), words)
    wait_for(lambda: graph.status("model").level == ERROR)
    assert node.state == "unconfigured"
    name = next(iter(given))
    default = node.parameters.spec(name).default
    assert node.set_parameters([Parameter(name, value=default)])[0].successful
    assert graph.transition("configure")
