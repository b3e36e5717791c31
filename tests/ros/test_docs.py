# SPDX-License-Identifier: Apache-2.0
"""docs/interface.md says what there is: every parameter, topic, service and launch argument, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from rclpy.parameter import Parameter

from esam3_ros.camera import CameraNode
from esam3_ros.overlay import OverlayNode
from esam3_ros.specs import CAMERA, OVERLAY, TRACKER
from tests.ros.launch_files import LAUNCH_FILES, declared_arguments

DOCS = (Path(__file__).resolve().parents[2] / "docs/interface.md").read_text()
KINDS = {
    Parameter.Type.STRING: "string",
    Parameter.Type.INTEGER: "int",
    Parameter.Type.DOUBLE: "double",
    Parameter.Type.BOOL: "bool",
}


def section(title: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    level = title.split(" ")[0]
    start = DOCS.index(f"\n{title}\n")
    end = re.search(rf"\n#{{1,{len(level)}}} ", DOCS[start + len(title) + 2 :])
    return DOCS[start : start + len(title) + 2 + end.start()] if end else DOCS[start:]


def rows(text: str, columns: int) -> dict[str, list[str]]:
    """First cell (without backquotes) -> the other cells, of tables with so many columns."""
    cells = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {row[0].strip("`"): row[1:] for row in cells if len(row) == columns and row[0].startswith("`")}


@pytest.mark.parametrize(("title", "specs"), [("## tracker", TRACKER), ("## overlay", OVERLAY), ("## camera", CAMERA)])
def test_every_parameter_with_type_default_range_and_time_of_change(title, specs):
    documented = rows(section(title), columns=6)
    documented.pop("concepts", None)
    assert sorted(documented) == sorted(spec.name for spec in specs)
    for spec in specs:
        kind, default, limits, changes, _ = documented[spec.name]
        assert kind == KINDS[spec.type], spec.name
        value = default.strip("`")
        assert (yaml.safe_load(value) if value else "") == spec.default, spec.name
        if spec.limits:
            low, high = (float(side) for side in limits.split(".."))
            assert (low, high) == tuple(map(float, spec.limits)), spec.name
        if spec.choices:
            assert limits == ", ".join(spec.choices), spec.name
        assert changes == spec.when.value, spec.name


def test_every_topic_and_service_of_the_tracker(graph, tracker):
    node = tracker()
    documented = set(re.findall(r"^\| (?:in|out) \| `([^`]+)`", section("## tracker"), re.MULTILINE))
    services = set(rows(section("### Services"), columns=3))
    full = f"{graph.namespace}/tracker"
    found = {info.topic_name for info in node.publishers} | {info.topic_name for info in node.subscriptions}
    found = {name.replace(full, "~").replace(f"{graph.namespace}/", "") for name in found}
    ours = {name for name in found if name.startswith("~") or name in ("image", "/diagnostics")} - {
        "~/transition_event"
    }
    optional = {"~/detections", "~/label_info", "image/compressed"}
    assert ours | optional == documented
    named = {service.srv_name.replace(full, "~") for service in node.services}
    automatic = ("parameter", "state", "transition", "type_description", "logger")  # rclpy's own
    assert services == {name for name in named if not any(word in name for word in automatic)}


def test_every_topic_of_overlay_and_camera(graph, tmp_path):
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "0.png"), np.zeros((8, 8, 3), np.uint8))
    camera = graph.start(CameraNode, source=str(tmp_path))
    overlay = graph.start(OverlayNode)
    for node, title in ((camera, "## camera"), (overlay, "## overlay")):
        documented = set(re.findall(r"^\| out \| `(~[^`]+)`", section(title), re.MULTILINE))
        full = node.get_fully_qualified_name()
        assert documented == {
            one.topic_name.replace(full, "~") for one in node.publishers if one.topic_name.startswith(full)
        }


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_every_launch_argument_with_its_default(path):
    documented = rows(section(f"### {path.name}"), columns=3)
    declared = declared_arguments(path)
    assert sorted(documented) == sorted(declared)
    for name, argument in declared.items():
        if isinstance(argument.default, str):
            assert documented[name][0] == f"`{argument.default}`", name
