# SPDX-License-Identifier: Apache-2.0
"""Where results go: what cannot be written is refused before the work, and Ctrl-C loses nothing that is done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from esam3_core.cli import main
from esam3_core.runtime.errors import OutputError
from esam3_core.runtime.outputs import check_outputs
from esam3_core.runtime.sources import open_source
from tests.colour_bundle import draw_blobs, write_colour_bundle

NO_BUNDLE = "no such bundle"  # whoever looks for it first would complain of it
CALLS = {
    "segment": ["segment", "a.png", "--concept", "red", "--bundle", NO_BUNDLE],
    "track": ["track", "a.png", "--concept", "red", "--bundle", NO_BUNDLE],
    "eval": ["eval", NO_BUNDLE, "--scenes", "."],
    "verify": ["verify", NO_BUNDLE],
    "bench": ["bench", NO_BUNDLE],
}
FILES = [
    ("segment", "--json", "a.json"), ("track", "--jsonl", "a.jsonl"), ("track", "--out", "a.mp4"),
    ("track", "--save-memory", "a.safetensors"), ("eval", "--json", "a.json"), ("eval", "--markdown", "a.md"),
]  # fmt: skip
FOLDERS = [("segment", "--overlay"), ("eval", "--plots"), ("verify", "--report"), ("bench", "--report")]
Interrupt = Callable[..., tuple[int, str]]
MANY = 3000  # pictures: more than are done before the first Ctrl-C is sent


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder we are in: a picture, and a file where others would have a folder."""
    monkeypatch.chdir(tmp_path)
    _write_picture(tmp_path / "a.png")
    (tmp_path / "file").write_text("kept")
    return tmp_path


def _write_picture(path: Path) -> None:
    picture = draw_blobs([("red", 80, 80, 40)], (240, 320))
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


class TestBeforeTheWork:
    @pytest.mark.parametrize(("verb", "option", "name"), FILES)
    def test_a_folder_is_no_file_to_write(
        self, verb: str, option: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (here / name).mkdir()
        assert main([*CALLS[verb], option, name]) == 2
        assert capsys.readouterr().err == f"esam3: {name} is a folder: name a file to write\n"

    @pytest.mark.parametrize(("verb", "option"), FOLDERS)
    def test_a_file_is_no_folder_to_write_into(
        self, verb: str, option: str, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*CALLS[verb], option, "file"]) == 2
        assert capsys.readouterr().err == "esam3: file is a file: name a folder to write into\n"

    @pytest.mark.parametrize(("verb", "option", "name"), [*FILES, *((*folder, "sub") for folder in FOLDERS)])
    def test_nothing_can_be_written_below_a_file(
        self, verb: str, option: str, name: str, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*CALLS[verb], option, f"file/{name}"]) == 2
        said = capsys.readouterr().err
        assert said == f"esam3: file/{name} cannot be written, because file is a file: choose another place\n"
        assert (here / "file").read_text() == "kept"

    @pytest.mark.parametrize("call", CALLS.values())
    def test_a_place_that_can_be_written_is_left_alone_until_then(
        self, call: list[str], here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (option,) = [name for verb, name, _ in FILES if verb == call[0] and name.startswith("--json")] or ["--report"]
        assert main([*call, option, "deep/down/out"]) == 2
        assert NO_BUNDLE in capsys.readouterr().err
        assert sorted(path.name for path in here.iterdir()) == ["a.png", "file"]

    def test_a_folder_that_may_not_be_written_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o555)
        if os.access(tmp_path, os.W_OK):
            pytest.skip("root may write everywhere")
        with pytest.raises(OutputError, match=f"nothing may be written in {tmp_path}: choose another place"):
            check_outputs(files=[tmp_path / "a.json"])


class TestCtrlC:
    """In a process group of its own, as in a terminal: ffmpeg gets the signal too."""

    @pytest.fixture
    def interrupt(self, tmp_path: Path) -> Interrupt:
        bundle = write_colour_bundle(tmp_path / "colours")
        images = tmp_path / "images"
        images.mkdir()
        _write_picture(images / "0.png")
        for number in range(1, MANY):
            os.link(images / "0.png", images / f"{number}.png")

        def run(verb: str, sign: Path, *options: str) -> tuple[int, str]:
            """Exit status and error output of a command that gets Ctrl-C as soon as there is something in `sign`."""
            call = [verb, str(images), "--concept", "red", "--bundle", str(bundle), *options]
            command = [sys.executable, "-m", "esam3_core", *call]
            process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
            while process.poll() is None and not (sign.exists() and sign.stat().st_size):
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGINT)
            return process.wait(), process.communicate()[1]

        return run

    def test_segment_writes_what_was_found_so_far(self, interrupt: Interrupt, tmp_path: Path) -> None:
        out, overlays = tmp_path / "out.json", tmp_path / "overlays"
        status, said = interrupt("segment", overlays / "0001_0.png", "--json", str(out), "--overlay", str(overlays))
        assert status == 130 and "stopped; what was written so far is whole" in said and "Traceback" not in said
        records = json.loads(out.read_text())
        assert 0 < len(records) < MANY and len(records) == len(list(overlays.iterdir()))

    def test_track_closes_its_files(self, interrupt: Interrupt, tmp_path: Path) -> None:
        out, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
        status, said = interrupt("track", out, "--jsonl", str(out), "--out", str(video))
        assert status == 130 and "stopped; what was written so far is whole" in said and "Traceback" not in said
        frames = [json.loads(line)["frame"] for line in out.read_text().splitlines()]
        assert 0 < len(frames) < MANY and frames == list(range(len(frames)))
        assert sum(1 for _ in open_source(video)) == len(frames)


def test_what_is_read_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"the only copy")
    for option in ("--out", "--jsonl", "--save-memory"):
        assert main(["track", str(video), "--concept", "red", "--bundle", NO_BUNDLE, option, str(video)]) == 2
        assert "would be lost" in capsys.readouterr().err
    assert main(["segment", str(video), "--concept", "red", "--bundle", NO_BUNDLE, "--json", str(video)]) == 2
    assert video.read_bytes() == b"the only copy"
