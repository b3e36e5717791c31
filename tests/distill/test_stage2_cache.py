# SPDX-License-Identifier: Apache-2.0
"""The clips of stage 2 on disk: several processes fill the folder together, and what is broken stops nobody."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from esam3_core.config import StudentConfig, to_dict
from esam3_core.config_fit import STRATEGIES, FitConfig, TeacherConfig
from esam3_core.config_stage2 import ClipSourceConfig, Stage2Config
from esam3_core.data.clip import Clip, Clips
from esam3_core.distill.stage2 import Stage2, open_clips
from esam3_core.distill.stage2_cache import ClipCache
from tests.data.trees import rle, write_sav
from tests.distill.teachers import MEMORY, write_run
from tests.distill.test_drafts import full_disk
from tests.drawn_data import SIZE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def start(tiny_config: StudentConfig, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an encoder, and a memory to teach with."""
    torch.set_num_threads(1)
    return write_run(tmp_path_factory.mktemp("start") / "run", tiny_config, tiny_text)


@pytest.fixture()
def config(start: Path, tiny_config: StudentConfig, tmp_path: Path) -> Stage2Config:
    """Three videos of SA-V, nothing encoded yet."""
    for number in range(3):
        write_sav(tmp_path / "sav", f"sav_{number:06d}", 13)
    return Stage2Config(
        student=dataclasses.replace(tiny_config, memory=MEMORY),
        start=str(start),
        sources=(ClipSourceConfig(str(tmp_path / "sav"), "sav", frames=0),),
        cache=str(tmp_path / "cache"),
        size=64,
        tracks=4,
        objects=2,
        frames=2,
        frames_last=3,
        steps=2,
        warmup=1,
        decay=1,
    )


class Busy:
    """Clips of which the first that is asked for takes so long that somebody else does something meanwhile."""

    def __init__(self, clips: Clips, meanwhile: Callable[[], object]) -> None:
        self.clips, self.meanwhile, self.asked = clips, meanwhile, 0

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        self.asked += 1
        if self.asked == 1:
            self.meanwhile()
        return self.clips[index]


def test_several_processes_encode_each_clip_once(config: Stage2Config) -> None:
    """While this one encodes its first clip, another one starts, and encodes all the others and that one too."""
    encoder = Stage2(config).student.image_encoder.eval()
    (source,) = config.sources
    ours, theirs = (ClipCache(Path(config.cache), source, encoder, 64, None) for _ in range(2))
    clips = open_clips(source, 0)
    busy = Busy(clips, lambda: theirs.fill(clips, 0))
    ours.fill(busy, 0)
    assert busy.asked == 1
    assert ours.sizes == theirs.sizes == [(4, 2)] * 3
    assert len(list(ours.folder.iterdir())) == 3


def test_a_damaged_video_is_left_out_until_it_is_mended(
    config: Stage2Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others keep their numbers, so batches of a whole data set do not depend on who was read first."""
    video = tmp_path / "sav" / "sav_000001.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[:200])
    stage = Stage2(config)
    assert stage.caches[0].sizes == [(4, 2), (0, 0), (4, 2)]
    assert "sav_000001.mp4" in caplog.text and "clip 1" in caplog.text
    for number in range(6):
        assert stage.batches(0).batch(number).visible[0].all()
    video.write_bytes(whole)
    assert Stage2(config).caches[0].sizes == [(4, 2)] * 3


def test_a_clip_in_which_nothing_shows_is_kept_beside_the_others(config: Stage2Config) -> None:
    encoder = Stage2(config).student.image_encoder.eval()
    (source,) = config.sources
    clips = open_clips(source, 0)
    nothing = dataclasses.replace(clips[0], masks=lambda _: {})
    cache = ClipCache(Path(config.cache), source, encoder, 64, None)
    cache.fill([nothing, clips[1]], 0)
    assert cache.sizes == [(4, 0), (4, 2)]
    assert cache.read(0, [1]).masks.shape == (1, 0, 64, 64)


def test_where_nothing_can_be_read_the_reason_is_told(config: Stage2Config, tmp_path: Path) -> None:
    for video in (tmp_path / "sav").glob("*.mp4"):
        video.unlink()
    with pytest.raises(ValueError, match=r"no clip of sav-\w+ shows an object \(3 x FileNotFoundError\)"):
        Stage2(config).caches  # noqa: B018


def test_objects_too_small_to_be_seen_are_nothing_to_ask_a_teacher_about(
    config: Stage2Config, start: Path, tmp_path: Path
) -> None:
    dot = np.zeros(SIZE, np.uint8)
    dot[30, 40] = 1
    path = tmp_path / "sav" / "sav_000000_manual.json"
    record = json.loads(path.read_text())
    record["masklet"] = [[rle(dot), rle(dot)] for _ in record["masklet"]]
    path.write_text(json.dumps(record))
    stage = Stage2(dataclasses.replace(config, teacher=TeacherConfig("student", str(start))))
    (cache,) = stage.caches
    assert not cache.visible(0).any() and cache.visible(1).any()
    taught = stage.batches(0).batch(0).taught
    assert taught is not None and taught.known.any()


def test_a_full_disk_leaves_no_half_clip(config: Stage2Config) -> None:
    stage = Stage2(config)
    with full_disk(8192), pytest.raises(OSError, match=r"safetensors cannot be written .*: make room and start again"):
        stage.caches  # noqa: B018
    assert not [path for path in Path(config.cache).rglob("*") if path.is_file()]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_processes_start_together_without_a_cache(strategy: str, config: Stage2Config, tmp_path: Path) -> None:
    config = dataclasses.replace(config, fit=FitConfig(strategy=strategy))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(config)))))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    done = subprocess.run(
        [*command, "esam3_core", "distill", "stage2", str(path), "--out", str(tmp_path / "run"), "--threads", "1"],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["step"] == 2 and state["bad_steps"] == 0
    (folder,) = Path(config.cache).iterdir()
    assert sorted(file.name for file in folder.iterdir()) == [f"{i:05d}.safetensors" for i in range(3)]
