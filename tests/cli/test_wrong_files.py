# SPDX-License-Identifier: Apache-2.0
"""Files that are damaged, or are not what they should be, get a sentence that names them, and no traceback."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from esam3_core.cli import main
from esam3_core.config import StudentConfig, TextConfig, from_dict
from esam3_core.config_stage3 import DistillConfig
from esam3_core.data.real import RealFolder
from esam3_core.data.scenes import SceneShards
from esam3_core.deploy.bench import read_report
from esam3_core.distill.checkpoint_file import load_checkpoint
from esam3_core.distill.stage3 import start_from
from esam3_core.metrics.clip import read_masks
from esam3_core.nn.student import Student
from tests.data.trees import RED, jpg, saco_file

TEXT = TextConfig(vocab_size=64, width=16, layers=1, heads=2, ffn=16, embedding=8)


def complaint(capsys: pytest.CaptureFixture[str], *command: object) -> str:
    """What a command that must end with status 2 says."""
    assert main([str(word) for word in command]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("verb", [("distill", "stage3"), ("distill", "stage1"), ("cache",)])
@pytest.mark.parametrize(
    ("text", "message"),
    [("student: [", "run.yaml is no YAML"), ("- a\n- b\n", "run.yaml holds no names and values")],
)
def test_a_configuration_that_is_none(
    verb: tuple[str, ...], text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    out = ["--out", tmp_path / "out"] if verb[0] == "distill" else []
    assert message in complaint(capsys, *verb, tmp_path / "run.yaml", *out)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"student": 5}, "student is 5: it must be a section"),
        ({"sources": ["scenes"]}, "sources is 'scenes': it must be a section"),
        ({"rate": "4e-4"}, "rate is '4e-4': it must be a number, such as 256 or 4.0e-4"),  # as YAML reads it
        (None, "DistillConfig is made of names and values, not of None"),
    ],
)
def test_a_value_of_another_kind(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(DistillConfig, values)


def _torn(path: Path) -> None:
    torch.save({"average": {"a": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:1500])


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"garbage"), _torn,
     lambda path: torch.save([1], path)],
)  # fmt: skip
def test_a_checkpoint_that_is_none(spoil: Callable[[Path], object], tmp_path: Path) -> None:
    spoil(tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt is no checkpoint of a run, or is cut short"):
        load_checkpoint(tmp_path / "last.pt")


def test_a_start_of_another_width(tmp_path: Path) -> None:
    small, large = (
        Student(StudentConfig("ev_s", size=64, width=width, heads=4, ffn=32, queries=4, masks=2, text=TEXT))
        for width in (32, 64)
    )
    torch.save({"average": small.state_dict()}, tmp_path / "last.pt")
    start_from(small, tmp_path)
    with pytest.raises(ValueError, match=r"has shape .* it was trained with another student section"):
        start_from(large, tmp_path)


def test_a_damaged_shard(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(ValueError, match=r"a\.tar is damaged"):
        SceneShards(tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_masks_cut_short(share: float, tmp_path: Path) -> None:
    path = tmp_path / "masks.npz"
    np.savez_compressed(path, frames=np.arange(3), shape=np.array([8, 8]), bits=np.zeros((3, 8), np.uint8))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"masks\.npz is empty, cut short or no \.npz"):
        read_masks(path)


@pytest.mark.parametrize(("text", "message"), [("{}", "lacks 'instances'"), ("[]", "no record"), ("{", "is damaged")])
def test_labels_of_something_else(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.json").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.json .*{message}"):
        RealFolder(tmp_path)


def test_saco_files_of_something_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jpg").write_bytes(jpg([RED]))
    path = saco_file(tmp_path / "gold.json", [(1, "a.jpg", "ball", [RED.mask()], True)])
    command = ("eval", "--saco", path, "--pictures", tmp_path, "--predictions", tmp_path / "found.json")
    for text, message in (("[{", "found.json is no JSON"), ('[{"score": 1}]', "found.json is not as it should be")):
        (tmp_path / "found.json").write_text(text)
        assert message in complaint(capsys, *command)
    data = json.loads(path.read_text())
    del data["images"][0]["is_instance_exhaustive"]
    path.write_text(json.dumps(data))
    assert "gold.json is not as it should be (an entry lacks 'is_instance_exhaustive')" in complaint(capsys, *command)


def test_a_report_without_its_bundle(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"frame": {}, "engines": {}, "machine": {}, "backend": "x"}))
    with pytest.raises(ValueError, match="it lacks bundle"):
        read_report(path)


def test_a_place_where_nothing_can_be_written_is_seen_before_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with tarfile.open(tmp_path / "a.tar", "w"):
        pass
    said = complaint(capsys, "eval", "no such bundle", "--scenes", tmp_path, "--json", tmp_path / "file/x.json")
    assert "file" in said and "no such bundle" not in said
