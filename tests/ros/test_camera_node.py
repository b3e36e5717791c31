# SPDX-License-Identifier: Apache-2.0
"""The camera node behaves like a driver, and tells the truth about what it shows."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import String

from esam3_core.config import CameraConfig
from esam3_core.runtime import SourceError
from esam3_core.runtime.video import VideoWriter
from esam3_ros.camera import CameraNode
from esam3_ros.camera_sources import CameraSource, Prefetch
from esam3_ros.conversions import image_to_rgb, pixels
from esam3_ros.demo_nodes import NodeSpec
from esam3_ros.processes import Nodes
from tests.colour_bundle import draw_blobs
from tests.ros.conftest import PATIENCE, time_of, wait_for

SMALL = (48, 64)


@pytest.fixture
def folder(tmp_path):
    """Five images whose grey value is their index times 50."""
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((*SMALL, 3), index * 50, np.uint8))
    return tmp_path


def indices(source: CameraSource) -> list[int]:
    return [frame.index for frame in source]


def test_a_folder_is_shown_picture_by_picture(graph, folder):
    images = graph.collect("camera/image_raw", Image)
    infos = graph.collect("camera/camera_info", CameraInfo)
    truths = graph.collect("camera/truth_info", String)
    graph.start(CameraNode, source=str(folder), rate=20.0, loop=False, await_subscribers=1, frame_id="eye")
    wait_for(lambda: len(images) == 5 and len(infos) == 5 and len(truths) == 5)
    assert [int(image_to_rgb(image)[0, 0, 0]) for image in images] == [0, 50, 100, 150, 200]
    assert all(image.header.frame_id == "eye" for image in images)
    assert [info.header.stamp for info in infos] == [image.header.stamp for image in images]
    assert not infos[0].k.any() and infos[0].width == 64  # nobody knows the intrinsics of a picture
    told = json.loads(truths[3].data)
    assert told["frame"] == 3 and told["instances"] is None
    assert told["stamp"] == [images[3].header.stamp.sec, images[3].header.stamp.nanosec]


def test_loop_starts_again(graph, folder):
    truths = graph.collect("camera/truth_info", String)
    graph.start(CameraNode, source=str(folder), rate=60.0)
    wait_for(lambda: len(truths) > 12)
    shown = [json.loads(truth.data)["frame"] for truth in truths]
    assert all(after == (before + 1) % 5 for before, after in itertools.pairwise(shown))


def test_a_best_effort_camera_is_one(graph, folder):
    graph.start(CameraNode, source=str(folder), reliability="best_effort")
    infos = wait_for(lambda: graph.probe.get_publishers_info_by_topic(f"{graph.namespace}/camera/image_raw"))
    assert infos[0].qos_profile.reliability.name == "BEST_EFFORT"


@pytest.mark.parametrize(("rate", "expected"), [(30.0, 30), (15.0, 15), (10.0, 10), (60.0, 30)])
def test_a_video_is_thinned_out_to_the_rate_and_never_repeats_a_frame(tmp_path, rate, expected):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 30.0) as video:
        for _ in range(30):
            video.write(draw_blobs([("red", 30, 20, 9)], SMALL))
    source = CameraSource(CameraConfig(source=str(path), rate=rate))
    shown = indices(source)
    assert len(shown) == pytest.approx(expected, abs=1) and shown == sorted(set(shown))
    assert source.rate == min(rate, 30.0)


def test_a_source_that_is_not_there_is_named(graph):
    with pytest.raises(SourceError, match=r"nowhere\.mp4 does not exist"):
        graph.start(CameraNode, source="/nowhere.mp4")


def _camera(folder, *blocked: str, **parameters: str) -> subprocess.CompletedProcess[str]:
    """Run the node where some modules cannot be imported, until it ends by itself."""
    for module in blocked:
        (folder / f"{module}.py").write_text(f"raise ModuleNotFoundError('it is missing', name='{module}')")
    words = [word for name, value in parameters.items() for word in ("-p", f"{name}:={value}")]
    environment = {**os.environ, "PYTHONPATH": f"{folder}:{os.environ['PYTHONPATH']}"}
    command = [sys.executable, "-m", "esam3_ros.camera", "--ros-args", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def test_a_scene_without_mujoco_ends_the_node_with_the_command_that_installs_it(tmp_path):
    done = _camera(tmp_path, "mujoco")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the scene needs mujoco, which is not installed: run `" in done.stderr
    assert f"{sys.executable} -m pip install 'mujoco" in done.stderr and "source:=video.mp4" in done.stderr


def test_a_source_that_breaks_off_ends_the_node_with_the_reason(tmp_path):
    (tmp_path / "0.png").write_bytes(b"no picture")
    done = _camera(tmp_path, source=str(tmp_path))
    assert done.returncode == 1 and "not an image" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("names", [["only.png"], ["first.png", "second.png"]])
def test_prefetch_passes_on_what_the_source_raises_and_ends_cleanly(tmp_path, names, loop):
    for name in names:
        (tmp_path / name).write_bytes(b"no picture")
    prefetch = Prefetch(CameraSource(CameraConfig(source=str(tmp_path))), loop)
    with pytest.raises(SourceError, match="not an image"):
        prefetch.take()
    prefetch.stop()


def test_stop_ends_a_prefetch_that_nobody_empties(folder):
    prefetch = Prefetch(CameraSource(CameraConfig(source=str(folder))), loop=True)
    wait_for(prefetch._frames.full)
    prefetch.stop()
    assert prefetch.take() is None


def _scenes_or_skip() -> None:
    """MuJoCo needs a graphics library; asked in another process, because a context belongs to one thread."""
    code = "from esam3_core.scenes import World, demo_config; World(1, demo_config(64, 64)).step()"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if asked.returncode:
        pytest.skip(f"no scene can be drawn here: {asked.stderr.strip().splitlines()[-1]}")


@pytest.mark.parametrize("clip", [0, 4])
def test_a_scene_comes_with_its_truth(graph, tmp_path, clip):
    _scenes_or_skip()
    collected = {
        "image": graph.collect("camera/image_raw", Image),
        "truth": graph.collect("camera/truth", Image),
        "info": graph.collect("camera/camera_info", CameraInfo),
    }
    told = graph.collect("camera/truth_info", String)
    if not clip:
        collected["depth"] = graph.collect("camera/depth", Image)
    parameters = {"width": 160, "height": 120, "rate": 5.0, "clip": clip, "await_subscribers": 1, "seed": 3}

    def complete():
        """What was said of one frame, and its messages, once all have come: a topic may be found later than another."""
        nodes.check()
        for facts in (json.loads(message.data) for message in list(told)):
            found = {name: with_stamp(messages, facts["stamp"]) for name, messages in collected.items()}
            if facts["instances"] and all(found.values()):
                return facts, found
        return None

    with Nodes([NodeSpec("camera", graph.namespace, parameters)], tmp_path) as nodes:
        facts, found = wait_for(complete, "a frame with all its truth")
    truth = found["truth"]
    ids = pixels(truth, np.dtype(np.uint16), 1)
    assert set(np.unique(ids)) - {0} <= {instance["id"] for instance in facts["instances"]}
    for instance in facts["instances"]:
        assert instance["phrases"] and 0 <= instance["visible"] <= 1
        assert (ids == instance["id"]).sum() == instance["area"]
    assert found["info"].k[0] > 0
    if not clip:
        depth = pixels(found["depth"], np.dtype(np.float32), 1)
        assert found["depth"].encoding == "32FC1" and 0.1 < np.median(depth) < 20


def with_stamp(messages, stamp):
    """The message with a stamp [s, ns]."""
    return next((one for one in list(messages) if list(time_of(one.header.stamp)) == stamp), None)
