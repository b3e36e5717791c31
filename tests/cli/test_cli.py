# SPDX-License-Identifier: Apache-2.0
"""The command line, called as a user calls it."""

import json
import subprocess
import sys

import cv2
import pytest

import esam3_core
from esam3_core import cli
from esam3_core.runtime.masks import decode_rle
from esam3_core.runtime.sources import open_source
from esam3_core.runtime.video import VideoWriter
from tests.bags import write_bag
from tests.colour_bundle import disc, draw_blobs, write_colour_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return str(write_colour_bundle(tmp_path_factory.mktemp("bundles") / "colours"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A red blob that moves to the right behind a post; a blue one stands still."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    with VideoWriter(path, 20) as video:
        for index in range(20):
            video.write(draw_blobs([("red", 60 + 10 * index, 100, 30), ("blue", 250, 180, 25)], (240, 320)))
    return str(path)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for name, blobs in (("a.png", [("red", 80, 80, 40)]), ("b.png", []), ("c.png", [("red", 80, 80, 40)] * 2)):
        cv2.imwrite(str(folder / name), cv2.cvtColor(draw_blobs(blobs, (240, 320)), cv2.COLOR_RGB2BGR))
    return folder


class TestTrack:
    def test_each_frame_is_a_line_of_json(self, bundle, clip, tmp_path):
        out = tmp_path / "deep" / "out.jsonl"
        assert (
            cli.main(["track", clip, "--concept", "red", "--concept", "blue", "--bundle", bundle, "--jsonl", str(out)])
            == 0
        )
        frames = [json.loads(line) for line in out.read_text().splitlines()]
        assert [frame["frame"] for frame in frames] == list(range(20))
        assert [frame["stamp"] for frame in frames] == pytest.approx([index / 20 for index in range(20)])
        assert all(list(frame) == ["frame", "stamp", "tracks"] for frame in frames)
        assert frames[0]["tracks"] == []
        red, blue = sorted(frames[19]["tracks"], key=lambda track: track["box"][0])[::-1]
        assert {red["concept"], blue["concept"]} == {"red", "blue"}
        for track in frames[19]["tracks"]:
            assert list(track) == ["id", "concept", "score", "state", "box", "rle"]
            assert track["state"] == "tracked" and 0.5 < track["score"] <= 1
            assert track["rle"]["size"] == [240, 320] and isinstance(track["rle"]["counts"], str)
            truth = disc(250, 100, 30, (240, 320)) if track["concept"] == "red" else disc(250, 180, 25, (240, 320))
            mask = decode_rle(track["rle"])
            assert (mask & truth).sum() / (mask | truth).sum() > 0.85

    def test_the_video_shows_the_tracks(self, bundle, clip, tmp_path, capsys):
        out = tmp_path / "out.mp4"
        assert cli.main(["track", clip, "--concept", "red", "--bundle", bundle, "--out", str(out)]) == 0
        source = open_source(out)
        assert (source.length, source.rate) == (20, 20)
        original, drawn = list(open_source(clip))[10][2].astype(int), list(source)[10][2]
        assert abs(drawn - original)[70:130, 130:190].mean() > 20  # the blob is tinted and outlined
        assert abs(drawn - original)[200:].mean() < 3
        assert "20 frames in" in (told := capsys.readouterr().out) and "red 1: seen in 19 frames" in told

    def test_a_folder_is_a_source_too(self, bundle, images, tmp_path):
        out = tmp_path / "out.jsonl"
        assert cli.main(["track", str(images), "--concept", "red", "--bundle", bundle, "--jsonl", str(out)]) == 0
        assert len(out.read_text().splitlines()) == 3

    def test_a_bag_is_a_source_too(self, bundle, tmp_path):
        frames = [draw_blobs([("red", 100, 100, 30)], (240, 320))] * 4
        bag = write_bag(tmp_path / "bag", frames, topics=("/left", "/right"))
        out = tmp_path / "out.jsonl"
        arguments = ["--topic", "/right", "--concept", "red", "--bundle", bundle, "--jsonl", str(out)]
        assert cli.main(["track", str(bag), *arguments]) == 0
        records = [json.loads(line) for line in out.read_text().splitlines()]
        assert [record["stamp"] for record in records] == pytest.approx([5 + index / 15 for index in range(4)])
        assert [track["state"] for record in records for track in record["tracks"]] == ["new", "tracked", "tracked"]

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            (["missing.mp4"], "missing.mp4 does not exist"),
            (["CLIP", "--topic", "/image"], "is not a bag"),
            (["CLIP", "--out", "out.avi"], "end in .mp4"),
            (["CLIP", "--concept", " "], "a concept is empty"),
            (["CLIP", "--concept", "x" * 10_000], "at most 64"),
            (["CLIP", "--bundle", "kitchen"], "no bundle 'kitchen'"),
            (["CLIP", "--score", "3"], "score_threshold is 3.0"),
            (["CLIP", "--device", "npu"], "choose auto, cpu"),
            (["CLIP", "--threads", "-1"], "threads is -1"),
        ],
    )
    def test_bad_input_is_one_sentence(self, bundle, clip, tmp_path, monkeypatch, capsys, arguments, reason):
        monkeypatch.chdir(tmp_path)
        arguments = [clip if argument == "CLIP" else argument for argument in arguments]
        if "--bundle" not in arguments:
            arguments += ["--bundle", bundle]
        if "--concept" not in arguments:
            arguments += ["--concept", "red"]
        assert cli.main(["track", *arguments]) == 2
        told = capsys.readouterr().err
        assert told.startswith("esam3: ") and reason in told and "Traceback" not in told
        assert not (tmp_path / "out.avi").exists()


class TestSegment:
    def test_found_instances_are_written(self, bundle, images, tmp_path):
        out = tmp_path / "out.json"
        arguments = ["segment", str(images / "a.png"), str(images / "b.png")]
        assert cli.main([*arguments, "--concept", "red", "--bundle", bundle, "--json", str(out)]) == 0
        first, second = json.loads(out.read_text())
        assert first["image"].endswith("a.png") and first["size"] == [240, 320] and second["detections"] == []
        (found,) = first["detections"]
        assert list(found) == ["concept", "score", "box", "rle"]
        truth = disc(80, 80, 40, (240, 320))
        mask = decode_rle(found["rle"])
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9

    def test_overlays_are_written(self, bundle, images, tmp_path):
        folder = tmp_path / "overlays"
        assert cli.main(["segment", str(images), "--concept", "red", "--bundle", bundle, "--overlay", str(folder)]) == 0
        assert sorted(path.name for path in folder.iterdir()) == ["0001_a.png", "0002_b.png", "0003_c.png"]
        assert cv2.imread(str(folder / "0001_a.png")).shape == (240, 320, 3)

    def test_without_a_file_results_are_printed(self, bundle, images, capsys):
        assert cli.main(["segment", str(images / "a.png"), "--concept", "red", "--bundle", bundle]) == 0
        assert "a.png: 1 found\n  red 1.00 box " in capsys.readouterr().out

    def test_what_the_bundle_does_not_claim_to_know_is_said_once(self, bundle, images, capsys):
        arguments = ["segment", str(images), "--concept", "Red", "--concept", "dark blue", "--bundle", bundle]
        assert cli.main(arguments) == 0
        assert capsys.readouterr().err == ""
        assert cli.main([*arguments, "--concept", "zebra"]) == 0
        assert capsys.readouterr().err == f"esam3: {esam3_core.load(bundle).doubt(['zebra'])}\n"

    def test_the_score_threshold_can_be_set(self, bundle, images, capsys):
        arguments = ["segment", str(images / "a.png"), "--concept", "red", "--bundle", bundle, "--score", "0.9999"]
        assert cli.main(arguments) == 0
        assert "a.png: 0 found" in capsys.readouterr().out

    def test_an_image_that_cannot_be_read_does_not_stop_the_others(self, bundle, images, tmp_path, capsys):
        (images / "b.png").write_bytes(b"broken")
        out = tmp_path / "out.json"
        assert cli.main(["segment", str(images), "--concept", "red", "--bundle", bundle, "--json", str(out)]) == 1
        assert [record["image"][-5:] for record in json.loads(out.read_text())] == ["a.png", "c.png"]
        assert "b.png (6 bytes) is not an image" in capsys.readouterr().err


class TestVerbs:
    def test_the_version_is_that_of_the_package(self):
        told = subprocess.run([sys.executable, "-m", "esam3_core", "--version"], capture_output=True, text=True)
        assert told.stdout.strip() == f"esam3 {esam3_core.__version__}"

    @pytest.mark.parametrize(
        "arguments", [[], ["dance"], ["track"], ["track", "0", "--box", "1,2"], ["segment", "--concept", "cup"]]
    )
    def test_a_wrong_call_shows_the_usage(self, arguments, capsys):
        with pytest.raises(SystemExit, match="2"):
            cli.main(arguments)
        assert "usage: esam3" in capsys.readouterr().err

    @pytest.mark.parametrize("blocked", ["torch", "mujoco"])
    def test_a_robot_without_torch_and_mujoco_has_the_verbs_it_needs(self, blocked):
        """In its own process, where importing the module fails as if it were not installed."""
        script = (
            f"import sys; sys.modules[{blocked!r}] = None; from esam3_core.cli import main; sys.exit(main(['--help']))"
        )
        told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        assert "segment" in told.stdout and "track" in told.stdout

    @pytest.mark.parametrize("verb", ["segment", "track"])
    def test_what_a_robot_runs_waits_for_no_torch(self, verb):
        script = (
            "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
            f"from esam3_core.cli import main; main([{verb!r}, '--help'])"
        )
        told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert told.stdout.startswith(f"usage: esam3 {verb}") and told.stdout.endswith("False\n")

    @pytest.mark.parametrize(
        ("missing", "remedy"),
        [("torch", "pip install '.[train]' in the checkout"), ("tokenizers", "pip install . in the checkout")],
    )
    def test_a_verb_whose_library_is_missing_says_how_to_install_it(self, missing, remedy, tmp_path):
        script = (
            f"import sys; sys.modules[{missing!r}] = None; from esam3_core.cli import main; "
            f"sys.exit(main(['export', {str(tmp_path)!r}, '--out', {str(tmp_path / 'b')!r}]))"
        )
        told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert told.returncode == 2
        assert f"esam3: `esam3 export` needs {missing}, which is not installed: {remedy} of esam3" in told.stderr
