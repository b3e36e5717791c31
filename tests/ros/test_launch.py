# SPDX-License-Identifier: Apache-2.0
"""Launch files: every argument is visible and described; where `launch` can be imported they are run by it."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from esam3_ros.demo_nodes import demo_nodes
from tests.ros.launch_files import LAUNCH_FILES, declared_arguments

CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_argument_is_declared_where_show_args_sees_it_and_described(path):
    arguments = declared_arguments(path)
    assert len(arguments) >= 7
    for name, argument in arguments.items():
        assert argument.top_level and len(argument.description) > 5, name
    assert "OpaqueFunction" not in path.read_text()


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


def test_launch_starts_the_tracker_with_the_arguments():
    launch = _real_launch()
    source = launch.launch_description_sources.PythonLaunchDescriptionSource(
        str(next(path for path in LAUNCH_FILES if path.name == "tracker.launch.py"))
    )
    arguments = {"concept": "5", "overlay": "false", "autostart": "false", "image": "/eye", "namespace": "robot"}
    started: list[tuple[list[str], dict[str, Any]]] = []

    def on_start(event: Any, context: Any) -> Any:
        files = [word for flag, word in itertools.pairwise(event.cmd) if flag == "--params-file"]
        parameters: dict[str, Any] = {}
        for file in files:
            parameters.update(next(iter(yaml.safe_load(Path(file).read_text()).values()))["ros__parameters"])
        started.append((event.cmd, parameters))
        return launch.actions.Shutdown()

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
    ((command, parameters),) = started
    assert {"image:=/eye", "image/compressed:=/eye/compressed", "__ns:=/robot"} <= set(command)
    assert parameters["concepts"] == "5" and parameters["autostart"] is False and parameters["max_rate"] == 0.0


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
