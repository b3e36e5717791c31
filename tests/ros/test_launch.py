# SPDX-License-Identifier: Apache-2.0
"""Launch files: every argument is visible and described; where `launch` can be imported they are run by it."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import rclpy
import yaml
from esam3_ros.msg import ConceptSet, TrackArray
from rclpy.node import Node
from sensor_msgs.msg import Image

from esam3_ros.demo_nodes import PICTURE, TRACKS, demo_nodes
from esam3_ros.qos import LATCHED
from tests.ros.conftest import PATIENCE, blobs, wait_for
from tests.ros.launch_files import LAUNCH_FILES, declared_arguments

CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_argument_is_declared_where_show_args_sees_it_and_described(path):
    arguments = declared_arguments(path)
    assert len(arguments) >= 7
    for name, argument in arguments.items():
        assert argument.top_level and len(argument.description) > 5, name


def _real_launch() -> Any:
    try:
        for name in ("actions", "event_handlers", "launch_description_sources"):
            importlib.import_module(f"launch.{name}")
        importlib.import_module("launch_ros.actions")
    except ImportError as error:
        pytest.skip(f"launch is not here, PyPI has none: {error}")
    return importlib.import_module("launch")


def _description(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.name.split(".")[0], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_itself_sees_every_argument(path):
    _real_launch()
    seen = {argument.name: argument.description for argument in _description(path).get_launch_arguments()}
    assert set(declared_arguments(path)) <= set(seen)
    assert all("no description" not in text.lower() for text in seen.values())


def _started(file: str, arguments: dict[str, str], count: int) -> list[tuple[list[str], dict[str, Any]]]:
    """Run a launch file until `count` processes have started: their command lines and parameters."""
    launch = _real_launch()
    path = next(path for path in LAUNCH_FILES if path.name == file)
    source = launch.launch_description_sources.PythonLaunchDescriptionSource(str(path))
    started: list[tuple[list[str], dict[str, Any]]] = []

    def on_start(event: Any, context: Any) -> Any:
        started.append((event.cmd, _parameters(event.cmd)))
        return launch.actions.Shutdown() if len(started) == count else None

    service = launch.LaunchService()
    service.include_launch_description(
        launch.LaunchDescription(
            [
                launch.actions.RegisterEventHandler(launch.event_handlers.OnProcessStart(on_start=on_start)),
                launch.actions.IncludeLaunchDescription(source, launch_arguments=arguments.items()),
            ]
        )
    )
    service.run()
    return started


def _parameters(command: list[str]) -> dict[str, Any]:
    """What a node with this command line finds for its parameters."""
    words = command[command.index("--ros-args") :] if "--ros-args" in command else []
    name, namespace = ([word[len(key) :] for word in words if word.startswith(key)] for key in ("__node:=", "__ns:="))
    if not name:
        return {}
    context = rclpy.Context()
    rclpy.init(args=words, context=context)
    node = Node(name[-1], context=context, automatically_declare_parameters_from_overrides=True)
    assert node.get_namespace() == namespace[-1]
    found = {name: node.get_parameter(name).value for name in node.get_parameters_by_prefix("")}
    node.destroy_node()
    rclpy.shutdown(context=context)
    return found


def test_launch_starts_the_tracker_with_the_arguments():
    arguments = {"concept": "5", "overlay": "false", "autostart": "false", "image": "/eye", "namespace": "robot"}
    arguments |= {"backend": "onnxruntime", "image_reliability": "reliable"}
    ((command, parameters),) = _started("tracker.launch.py", arguments, count=1)
    assert {"image:=/eye", "image/compressed:=/eye/compressed", "__ns:=/robot"} <= set(command)
    assert parameters["concepts"] == "5" and parameters["autostart"] is False and parameters["max_rate"] == 0.0
    assert parameters["backend"] == "onnxruntime" and parameters["image_reliability"] == "reliable"


def test_launch_looks_for_cups_unless_told_otherwise_and_leaves_the_rest_to_the_node():
    ((_, parameters),) = _started("tracker.launch.py", {"overlay": "false"}, count=1)
    assert parameters["concepts"] == "cup"
    assert not {"bundle", "device", "autostart", "image_transport"} & set(parameters)


OF_FILE = {"concepts": "mug", "bundle": "/kitchen", "device": "cpu", "autostart": False, "use_sim_time": True}
OF_FILE |= {"image_transport": "compressed", "image_reliability": "reliable", "backend": "onnxruntime"}


@pytest.mark.parametrize("node", ["/**", "/esam3/tracker"])
def test_params_file_holds_where_no_argument_was_given(tmp_path, node):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({node: {"ros__parameters": OF_FILE}}))
    arguments = {"params_file": str(file), "overlay": "false"}
    ((_, parameters),) = _started("tracker.launch.py", arguments, count=1)
    assert {name: parameters[name] for name in OF_FILE} == OF_FILE
    given = {"concept": "cup", "bundle": "tabletop", "autostart": "true", "use_sim_time": "false", "device": "auto"}
    ((_, parameters),) = _started("tracker.launch.py", {**arguments, **given}, count=1)
    assert (parameters["concepts"], parameters["bundle"], parameters["device"]) == ("cup", "tabletop", "auto")
    assert parameters["autostart"] is True and parameters["use_sim_time"] is False
    assert parameters["image_transport"] == "compressed" and parameters["backend"] == "onnxruntime"


def test_a_params_file_that_is_missing_is_told_and_nothing_starts(tmp_path, caplog, monkeypatch):
    launch = logging.getLogger("launch")
    monkeypatch.setattr(launch, "handlers", [*launch.handlers, caplog.handler])  # it hands nothing on to the root
    assert _started("tracker.launch.py", {"params_file": str(tmp_path / "nowhere.yaml")}, count=1) == []
    assert "nowhere.yaml is no file" in caplog.text


def test_the_overlay_listens_as_params_file_says(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": OF_FILE}}))
    started = _started("tracker.launch.py", {"params_file": str(file), "use_sim_time": "false"}, count=2)
    (overlay,) = [parameters for command, parameters in started if "__node:=overlay" in command]
    assert overlay["image_transport"] == "compressed" and overlay["image_reliability"] == "reliable"
    assert overlay["use_sim_time"] is False


@pytest.mark.parametrize("loop", ["true", "false"])
def test_launch_plays_a_bag_once_the_tracker_is_ready_and_lives_in_its_time(graph, colours, loop):
    if shutil.which("ros2") is None:
        pytest.skip("ros2 is not here, PyPI has none")
    ready = graph.collect("tracker/concepts", ConceptSet, LATCHED)
    arguments = {"bag": "/none", "loop": loop, "rate": "0.5", "image": "/eye", "overlay": "false"}
    arguments |= {"concept": "red", "bundle": str(colours), "namespace": graph.namespace.strip("/")}
    *others, (player, _) = _started("bag.launch.py", arguments, count=3)
    assert player[1:] == ["bag", "play", "/none", "--clock", "--rate", "0.5", *(["--loop"] if loop == "true" else [])]
    assert [list(message.concepts) for message in ready] == [["red"]]
    ((command, parameters),) = [one for one in others if one[1]]
    assert "image:=/eye" in command and parameters["use_sim_time"] is True and parameters["concepts"] == "red"


@contextlib.contextmanager
def _ros2_launch(*words: str) -> Iterator[None]:
    """`ros2 launch esam3_ros ...` as a user types it, ended by Ctrl-C; it must end well and without complaint."""
    if shutil.which("ros2") is None:
        pytest.skip("ros2 is not here, PyPI has none")
    line = ["ros2", "launch", "esam3_ros", *words]
    child = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(child.pid, signal.SIGINT)
        said, _ = child.communicate(timeout=PATIENCE)
    assert child.returncode == 0 and "Traceback" not in said, said


def test_ros2_launch_tracker_finds_what_a_camera_shows(graph, colours):
    results = graph.collect("tracker/tracks", TrackArray)
    namespace = f"namespace:={graph.namespace.strip('/')}"
    image = f"image:={graph.namespace}/image"
    with _ros2_launch("tracker.launch.py", "concept:=red", f"bundle:={colours}", namespace, image, "overlay:=false"):
        graph.show_until(lambda: any(message.tracks for message in results))
    assert {track.concept for message in results for track in message.tracks} == {"red"}


def test_ros2_launch_demo_draws_what_it_finds(graph, colours, tmp_path):
    cv2.imwrite(str(tmp_path / "0.png"), cv2.cvtColor(blobs(), cv2.COLOR_RGB2BGR))
    results, pictures = graph.collect(TRACKS, TrackArray), graph.collect(PICTURE, Image)
    with _ros2_launch("demo.launch.py", f"source:={tmp_path}", "concept:=red", f"bundle:={colours}"):
        wait_for(lambda: pictures and any(message.tracks for message in results))


def test_the_demo_and_its_launch_file_name_the_same_nodes():
    specs = demo_nodes({"source": "scene"}, concept="cup", bundle="tabletop")
    assert [spec.executable for spec in specs] == ["camera", "tracker", "overlay"]
    assert "demo_nodes(" in next(path for path in LAUNCH_FILES if path.name == "demo.launch.py").read_text()


def test_rviz_and_foxglove_show_topics_that_exist():
    rviz = yaml.safe_load((CONFIG / "esam3.rviz").read_text())
    (display,) = rviz["Visualization Manager"]["Displays"]
    assert display["Topic"]["Value"] == "/esam3/overlay/image"
    foxglove = (CONFIG / "foxglove.json").read_text()
    assert all(topic in foxglove for topic in ("/esam3/overlay/image", "/esam3/tracker/concept", "/diagnostics"))
