# SPDX-License-Identifier: Apache-2.0
"""Shards: whole or not there, resumed, and clear about what is wrong."""

from __future__ import annotations

import errno
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from esam3_core.config import SceneConfig
from esam3_core.scenes import __main__ as command
from esam3_core.scenes import shards

TINY = SceneConfig(width=96, height=64)
SIZE = ["--width", "96", "--height", "64"]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr("sys.argv", ["scenes", *map(str, arguments)])
    return command.main()


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.tar"))}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scenes") / "train"
    shards.render(out, TINY, seed=3, scenes=3, frames=2, workers=2)
    return out


def test_a_sample_is_picture_ids_depth_and_truth_that_agree(rendered: Path) -> None:
    for path in rendered.glob("*.tar"):
        with tarfile.open(path) as tar:
            files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}  # type: ignore[union-attr]
        keys = {name.split(".")[0] for name in files}
        assert len(files) == 4 * len(keys)
        for key in keys:
            truth = json.loads(files[f"{key}.json"])
            picture, ids, depth = (
                cv2.imdecode(np.frombuffer(files[f"{key}.{s}"], np.uint8), cv2.IMREAD_UNCHANGED)
                for s in ("jpg", "ids.png", "depth.png")
            )
            assert truth["key"] == key and truth["split"] == "train"
            assert list(picture.shape[:2]) == list(ids.shape) == list(depth.shape) == truth["size"]
            assert ids.dtype == depth.dtype == np.uint16
            assert set(truth["intrinsics"]) == {"fx", "fy", "cx", "cy"}
            assert {i["id"] for i in truth["instances"]} == set(np.unique(ids).tolist()) - {0}
            for instance in truth["instances"]:
                assert (ids == instance["id"]).sum() == instance["area"]


def test_a_killed_run_is_resumed_to_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    whole = contents(rendered)
    again = tmp_path / "train"
    again.mkdir()
    kept, torn = sorted(whole)[0], sorted(whole)[-1]
    (again / "scenes.json").write_bytes((rendered / "scenes.json").read_bytes())
    (again / kept).write_bytes(whole[kept])
    (again / f".{torn}.part").write_bytes(whole[torn][:1000])
    before = (again / kept).stat().st_mtime_ns
    totals = shards.render(again, TINY, seed=3, scenes=3, frames=2, workers=1)
    assert totals.kept_shards == 1
    assert contents(again) == whole
    assert (again / kept).stat().st_mtime_ns == before
    assert not list(again.glob("*.part"))


def test_a_finished_run_renders_nothing(rendered: Path) -> None:
    totals = shards.render(rendered, TINY, seed=3, scenes=3, frames=2, workers=1)
    assert (totals.samples, totals.shards) == (0, 0)


def test_two_runs_are_not_mixed(rendered: Path) -> None:
    with pytest.raises(ValueError, match="other settings"):
        shards.render(rendered, TINY, seed=4, scenes=3, frames=2, workers=1)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="not a folder"):
        shards.render(tmp_path / "file", TINY, seed=0, scenes=1, frames=1, workers=1)


def test_a_full_disk_is_named_and_loses_nothing(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="free some space"):
        shards.render(tmp_path / "out", TINY, seed=3, scenes=1, frames=1, workers=1)
    assert not list((tmp_path / "out").glob("[!.]*.tar"))


@pytest.mark.parametrize(("option", "message"), [({"scenes": 0}, "at least 1"), ({"seed": -1}, "negative")])
def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, option: dict[str, int], message: str) -> None:
    numbers = {"seed": 0, "scenes": 1, "frames": 1, "workers": 1} | option
    with pytest.raises(ValueError, match=message):
        shards.render(tmp_path / "out", TINY, **numbers)
    assert not (tmp_path / "out").exists()


def test_the_sheet_is_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "sheet.png"
    assert run(monkeypatch, "sheet", out, "--scenes", 3, "--columns", 2, *SIZE) == 0
    assert cv2.imread(str(out)).shape == (128, 192, 3)


def test_a_sheet_that_is_no_picture_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"\.png or \.jpg"):
        run(monkeypatch, "sheet", tmp_path / "sheet.txt", "--scenes", 1, *SIZE)
