# SPDX-License-Identifier: Apache-2.0
"""The demo as a user starts it: separate processes, real topics, files that can be looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from esam3_core.runtime.video import VideoWriter
from esam3_ros.demo import main
from esam3_ros.demo_nodes import NodeSpec
from esam3_ros.processes import ChildDiedError, Nodes, command
from tests.colour_bundle import disc, draw_blobs
from tests.ros.conftest import PATIENCE, wait_for

KEYS = {"frames", "fps", "age_ms_p50", "age_ms_p95", "mean_iou", "id_switches", "tracks"}


COUNT = 30  # frames


def place(index: int) -> tuple[float, float, float]:
    """Centre and radius of a disc that moves: in all less far than a track reaches, however many frames are skipped."""
    return 250 + 4 * index, 200, 60


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A red disc that moves for four seconds."""
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 7.5) as writer:
        for index in range(COUNT):
            writer.write(draw_blobs([("red", *place(index))]))
    return path


def test_a_video_goes_through_the_nodes_and_comes_out_as_pictures_and_numbers(video, colours, tmp_path, capsys):
    out = tmp_path / "out"
    discs = [disc(*place(index)) for index in range(COUNT)]
    np.savez(tmp_path / "m.npz", frames=range(COUNT), shape=(480, 640), bits=[np.packbits(mask) for mask in discs])
    arguments = ["--source", str(video), "--concept", "red", "--bundle", str(colours), "--out", str(out)]
    assert main([*arguments, "--frames", "25", "--masks", str(tmp_path / "m.npz")]) == 0
    result = json.loads((out / "demo.json").read_text())
    assert set(result) >= KEYS and result["id_switches"] == 0
    count = result["frames"]  # a busy machine skips many
    assert count >= 3 and result["mean_iou"] > 0.8 * (count - 1) / count  # the first shows no track: it may be noise
    assert [(track["id"], track["concept"]) for track in result["tracks"]] == [(1, "red")]
    assert cv2.imread(str(out / "demo.png")).shape[1] > 1000
    film = cv2.VideoCapture(str(out / "demo.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == result["frames"]
    lines = [json.loads(line) for line in (out / "demo.jsonl").read_text().splitlines()]
    assert len(lines) == result["frames"] and lines[-1]["tracks"][0]["id"] == 1
    assert [line["frame"] for line in lines] == sorted({line["frame"] for line in lines})
    assert "age_ms_p50" in capsys.readouterr().out


@pytest.mark.parametrize("content", [{}, {"frames": [0], "shape": (2, 2)}, {"frames": [0], "shape": 2, "bits": [[1]]}])
def test_masks_that_are_none_are_an_error_with_the_remedy(video, tmp_path, capsys, content):
    np.savez(tmp_path / "m.npz", **content)
    assert main(["--source", str(video), "--masks", str(tmp_path / "m.npz"), "--out", str(tmp_path / "out")]) == 1
    assert "m.npz holds no masks" in (told := capsys.readouterr().err) and "`frames`, `shape` and `bits`" in told


def test_a_source_that_is_not_there_is_an_error_with_a_name(tmp_path, capsys):
    assert main(["--source", str(tmp_path / "none.mp4"), "--out", str(tmp_path)]) == 1
    assert "none.mp4 does not exist" in capsys.readouterr().err


def test_a_bundle_that_is_not_there_ends_the_demo_at_once_with_the_reason(video, tmp_path, capsys):
    arguments = ["--source", str(video), "--bundle", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert told.startswith("demo: the tracker cannot work: no bundle") and "nowhere" in told


@pytest.mark.parametrize(("concept", "words"), [("", "a concept is empty"), ("a,b,c,d,e,f,g,h,i", "at most 8 at once")])
def test_concepts_that_cannot_be_end_the_demo_before_it_begins(video, tmp_path, capsys, concept, words):
    assert main(["--source", str(video), "--concept", concept, "--out", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_child_that_dies_is_reported_with_the_end_of_its_log(tmp_path):
    specs = [NodeSpec("camera", "/", {"source": "/none.mp4"}), NodeSpec("overlay", "/")]
    with Nodes(specs, tmp_path) as nodes:
        pids = nodes.pids()
        with pytest.raises(ChildDiedError, match=r"camera ended with status 1:\n(.*\n)*.*none\.mp4 does not exist"):
            wait_for(nodes.check)
    assert not any(_alive(pid) for pid in pids.values())


def test_ctrl_c_ends_every_process_of_the_demo(video, colours, tmp_path):
    line = [sys.executable, "-m", "esam3_ros.demo", "--source", str(video), "--bundle", str(colours)]
    demo = subprocess.Popen([*line, "--out", str(tmp_path / "out")], start_new_session=True)
    children = wait_for(lambda: found if len(found := _children(demo.pid)) == 3 else None, "three nodes")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(PATIENCE) == 130
    assert not any(_alive(pid) for pid in children)


def test_ctrl_c_while_a_node_is_started_orphans_nobody(tmp_path, monkeypatch):
    started = []

    def interrupted(*arguments, **options):
        started.append(popen(*arguments, **options))
        signal.raise_signal(signal.SIGINT)
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt), Nodes([NodeSpec("overlay", "/")], tmp_path):
        pass
    assert [child.poll() is not None for child in started] == [True]


def test_parameters_keep_their_types_on_the_command_line(tmp_path):
    line = command(NodeSpec("tracker", "/esam3", {"concepts": "5"}, (("image", "/camera"),)), tmp_path)
    assert line[1:3] == ["-m", "esam3_ros.tracker"] and "image:=/camera" in line
    assert "concepts: '5'" in (tmp_path / "tracker.yaml").read_text()  # a text, not a number


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def _children(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
