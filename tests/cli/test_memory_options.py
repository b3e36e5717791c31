# SPDX-License-Identifier: Apache-2.0
"""Showing objects, and keeping what was remembered, on the command line."""

import json

import cv2
import pytest

from esam3_core import cli
from esam3_core.runtime.video import VideoWriter
from tests.colour_bundle import draw_blobs, write_colour_bundle
from tests.colour_memory import write_memory_bundle

RED, BLUE = ("red", 80, 120, 40), ("blue", 240, 120, 40)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return str(write_memory_bundle(tmp_path_factory.mktemp("bundles") / "colours"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A red blob that moves down; a blue one stands still."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with VideoWriter(path, 20) as video:
        for index in range(12):
            video.write(draw_blobs([("red", 80, 80 + 6 * index, 40), BLUE], (240, 320)))
    return str(path)


@pytest.fixture
def track(bundle, clip, tmp_path):
    """Runs `esam3 track`; its exit status, and the tracks of each frame."""

    def run(*options):
        out = tmp_path / "out.jsonl"
        status = cli.main(["track", clip, "--bundle", bundle, "--jsonl", str(out), *options])
        return status, [json.loads(line)["tracks"] for line in out.read_text().splitlines()]

    return run


@pytest.mark.parametrize("option", [("--box", "200,80,80,80@4"), ("--point", "240,120@4")])
def test_one_object_is_followed_from_the_frame_on_which_it_is_shown(track, option):
    status, frames = track(*option)
    assert status == 0 and not any(frames[:4])
    assert [[one["id"] for one in tracks] for tracks in frames[4:]] == [[1]] * 8
    assert frames[-1][0]["box"] == pytest.approx([200, 80, 80, 80], abs=10)


def test_an_exemplar_finds_everything_alike(track):
    status, frames = track("--exemplar", "40,40,80,80@0")
    assert status == 0
    assert [(one["id"], one["concept"]) for one in frames[-1]] == [(1, "exemplar")]
    assert frames[-1][0]["box"] == pytest.approx([40, 106, 80, 80], abs=10)


def test_what_was_saved_goes_on_with_its_ids(track, tmp_path):
    saved = str(tmp_path / "memory")
    assert track("--concept", "red", "--point", "240,120", "--save-memory", saved)[0] == 0
    status, frames = track("--load-memory", saved)
    assert status == 0
    assert {one["id"]: one["concept"] for one in frames[-1]} == {1: "", 2: "red"}


def test_a_tracker_can_be_chosen(track, capsys):
    assert track("--concept", "red", "--tracker", "iou")[0] == 0
    assert track("--concept", "red", "--tracker", "iou", "--point", "240,120")[0] == 2
    assert "choose the tracker memory" in capsys.readouterr().err


def test_rare_looks_leave_the_rest_to_memory_and_tracks_can_be_few(track, bundle, clip, capsys):
    status, frames = track("--concept", "red", "--concept", "blue", "--detect-every", "6", "--max-tracks", "1")
    assert status == 0 and len(frames) == 12
    assert [len(tracks) for tracks in frames[6:]] == [1] * 6
    assert cli.main(["track", clip, "--bundle", bundle, "--concept", "red", "--detect-every", "0"]) == 2
    assert "detect_every is 0" in capsys.readouterr().err


def test_a_frame_that_does_not_come_is_said(track, capsys):
    assert track("--point", "240,120@40")[0] == 1
    assert "no frame 40" in capsys.readouterr().err


def test_a_bundle_without_memory_names_the_remedy(clip, tmp_path, capsys):
    plain = str(write_colour_bundle(tmp_path / "plain"))
    assert cli.main(["track", clip, "--bundle", plain, "--concept", "red", "--tracker", "memory"]) == 2
    assert "no memory in this bundle" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["1,2,3@0", "1,2,3,x", "1,2,3,4@first", "1,2,3,4@-1"])
def test_a_box_that_is_none_shows_how_it_is_written(clip, wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["track", clip, "--box", wrong])
    assert "x,y,w,h@frame" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["track", "clip.mp4"], ["segment", "a.png"]])
def test_nothing_to_look_for_is_said(verb, capsys):
    assert cli.main(verb) == 2
    assert "nothing to" in capsys.readouterr().err


def test_segment_finds_what_is_like_a_box(bundle, tmp_path, capsys):
    picture = draw_blobs([RED, ("red", 160, 40, 20), BLUE], (240, 320))
    cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    out = tmp_path / "out.json"
    options = ["--bundle", bundle, "--box", "40,80,80,80", "--json", str(out)]
    assert cli.main(["segment", str(tmp_path / "a.png"), *options]) == 0
    (record,) = json.loads(out.read_text())
    assert [one["concept"] for one in record["detections"]] == ["exemplar", "exemplar"]
