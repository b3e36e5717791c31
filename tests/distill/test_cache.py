# SPDX-License-Identifier: Apache-2.0
"""The cache of a teacher's answers: complete, checked, resumed after a kill, and never mistaken for another's."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from esam3_core.cli import main
from esam3_core.config import to_dict
from esam3_core.config_stage1 import CacheConfig, Stage1Config
from esam3_core.data.augment import View
from esam3_core.distill.answers import ask
from esam3_core.distill.cache import Cache, Made, fill, open_views, prepare
from esam3_core.distill.cache_shard import CacheError, index_of
from esam3_core.distill.drafts import STALE
from esam3_core.distill.quantise import pack, unpack
from esam3_core.distill.stage3 import open_source
from esam3_core.distill.teacher import Teacher, TeacherError, open_teacher
from esam3_core.distill.views import Place, Views

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture()
def config(tiny_stage1: Stage1Config, tmp_path: Path) -> Stage1Config:
    """A cache of 22 views in 5 shards, not filled yet."""
    cache = CacheConfig(folder=str(tmp_path / "cache"), precision="int8", views=2, prompts=2, shard=5)
    return dataclasses.replace(tiny_stage1, cache=cache)


@pytest.fixture()
def views(config: Stage1Config) -> Views:
    return open_views(config)


@pytest.fixture(scope="module")
def teacher(tiny_stage1: Stage1Config) -> Teacher:
    torch.set_num_threads(1)
    return open_teacher(tiny_stage1.teacher)


def write_yaml(config: Stage1Config, path: Path) -> Path:
    path.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(config)))))
    return path


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_is_read_is_what_the_teacher_said(config: Stage1Config, views: Views, teacher: Teacher) -> None:
    made = fill(config, views, teacher, CPU)
    cache = Cache(config.cache, views, teacher.key)
    assert (made.views, made.shards) == (22, 5)
    assert made.bytes == cache.size == sum(p.stat().st_size for p in Path(config.cache.folder).glob("*.bin"))
    for place in views.places()[::7]:
        told, kept = ask(teacher, [views[place]], config.cache.levels, 2, CPU)[0], cache[place]
        assert kept.instances.tolist() == told.instances.tolist()
        assert np.abs(kept.masks - told.masks).max(initial=0) <= 0.5 / 255 + 1e-6
        for name, values in told.levels.items():
            step = np.abs(values).max((1, 2), keepdims=True) / 127
            assert (np.abs(kept.levels[name] - values) <= 0.501 * step).all(), name


@pytest.mark.parametrize(("precision", "share"), [("fp16", 1e-3), ("int8", 2e-2)])
def test_little_is_lost_by_fewer_bits(precision: str, share: float) -> None:
    """Root mean square error as a share of the features' own; the largest channel is a thousand times the smallest."""
    values = np.random.default_rng(0).normal(size=(16, 24, 24)).astype(np.float32)
    values *= np.logspace(-2, 1, 16, dtype=np.float32)[:, None, None]
    error = (unpack(pack(values, precision)) - values).reshape(16, -1)
    assert (np.sqrt((error**2).mean(1)) <= share * values.reshape(16, -1).std(1)).all()


def test_few_bits_take_little_room(config: Stage1Config, views: Views, teacher: Teacher, tmp_path: Path) -> None:
    half = dataclasses.replace(
        config, cache=dataclasses.replace(config.cache, precision="fp16", folder=str(tmp_path / "half"))
    )
    assert fill(config, views, teacher, CPU).bytes < 0.65 * fill(half, views, teacher, CPU).bytes


def test_channels_that_are_nothing_or_huge_are_kept() -> None:
    values = np.zeros((2, 4, 4), np.float32)
    values[1] = 1e6
    assert not unpack(pack(values, "int8"))[0].any()
    assert np.isfinite(unpack(pack(values, "fp16"))).all()


def test_a_second_run_has_nothing_to_do(config: Stage1Config, views: Views, teacher: Teacher) -> None:
    fill(config, views, teacher, CPU)
    before = bytes_of(Path(config.cache.folder))
    assert fill(config, views, teacher, CPU) == Made(0, 0, 0)
    assert bytes_of(Path(config.cache.folder)) == before


def test_a_killed_cache_is_completed(config: Stage1Config, views: Views, teacher: Teacher, tmp_path: Path) -> None:
    """Killed by the system in the middle of a shard: what is whole stays, what is not is made, to the same bytes."""
    path = write_yaml(config, tmp_path / "run.yaml")
    folder = Path(config.cache.folder)
    command = [sys.executable, "-m", "esam3_core", "cache", str(path), "--threads", "1"]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(6000):
        if indices := list(folder.glob("*.json")):
            break
        assert run.poll() is None, "the process ended before it was killed"
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    finished = indices[0].with_suffix(".bin")
    other = next(name for name in ("000001.json", "000002.json") if name != indices[0].name)
    (folder / other).unlink(missing_ok=True)  # as if it had died between the two
    (folder / "000002.robot-77.tmp").write_bytes(b"half a shard")
    with pytest.raises(CacheError, match=r"shards of .* are missing or torn .*run `esam3 cache` with the same config"):
        Cache(config.cache, views, teacher.key)
    for torn in folder.glob("*.tmp"):
        os.utime(torn, (time.time() - STALE - 1,) * 2)  # it was long ago
    first = finished.stat().st_mtime_ns
    assert main(["cache", str(path), "--threads", "1"]) == 0
    assert finished.stat().st_mtime_ns == first
    assert not list(folder.glob("*.tmp"))
    undisturbed = dataclasses.replace(config, cache=dataclasses.replace(config.cache, folder=str(tmp_path / "other")))
    fill(undisturbed, views, teacher, CPU)
    assert bytes_of(folder) == bytes_of(tmp_path / "other")


class Busy(Views):
    """Views of which the first that is asked for takes so long that somebody else does something meanwhile."""

    meanwhile: Callable[[], object] | None = None

    def __getitem__(self, place: Place) -> View:
        if self.meanwhile is not None:
            then, self.meanwhile = self.meanwhile, None
            then()
        return super().__getitem__(place)


def busy(config: Stage1Config) -> Busy:
    sources = [open_source(source) for source in config.sources]
    return Busy(sources, config.sources, config.size, config.cache.views, config.seed)


def test_several_machines_make_each_shard_once(config: Stage1Config, views: Views, teacher: Teacher) -> None:
    """While this one makes its first shard, another one starts, and makes all the others and that one too."""
    ours, theirs = busy(config), []
    ours.meanwhile = lambda: theirs.append(fill(config, views, teacher, CPU))
    assert fill(config, ours, teacher, CPU).shards == 1
    assert [made.shards for made in theirs] == [5]
    cache = Cache(config.cache, views, teacher.key)
    assert len([cache[place] for place in views.places()]) == 22


def test_a_start_leaves_alone_what_another_machine_is_writing(
    config: Stage1Config, views: Views, teacher: Teacher
) -> None:
    drafts: list[Path] = []
    ours, folder = busy(config), Path(config.cache.folder)

    def start_elsewhere() -> None:
        drafts.extend(folder.glob("*.tmp"))
        assert prepare(config.cache, views, teacher.key) == [0, 1, 2, 3, 4]

    ours.meanwhile = start_elsewhere
    assert fill(config, ours, teacher, CPU).shards == 5
    assert len(drafts) == 1 and not list(folder.glob("*.tmp"))


@pytest.mark.parametrize("harm", ["cut", "flip", "no index", "torn index"])
def test_a_torn_shard_is_noticed_and_made_again(
    harm: str, config: Stage1Config, views: Views, teacher: Teacher
) -> None:
    fill(config, views, teacher, CPU)
    shard = Path(config.cache.folder) / "000001.bin"
    before = bytes_of(shard.parent)
    data = bytearray(shard.read_bytes())
    if harm == "cut":
        shard.write_bytes(data[:-1])
    elif harm == "flip":
        data[len(data) // 2] ^= 1
        shard.write_bytes(data)
    elif harm == "no index":
        index_of(shard).unlink()
    else:
        index_of(shard).write_text(index_of(shard).read_text()[:-20])
    with pytest.raises(CacheError, match="run `esam3 cache`"):
        cache = Cache(config.cache, views, teacher.key)
        [cache[place] for place in views.places()]
    assert prepare(config.cache, views, teacher.key) == [1]
    assert fill(config, views, teacher, CPU).shards == 1
    assert bytes_of(shard.parent) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 5}, "seed"),
        ({"size": 96}, "size"),
        ({"sources": "fewer"}, "sources"),
        ({"levels": ("p16",)}, "levels"),
        ({"precision": "fp16"}, "precision"),
        ({"prompts": 1}, "prompts"),
    ],
)
def test_a_stale_cache_is_refused(
    change: dict[str, object], named: str, config: Stage1Config, views: Views, teacher: Teacher
) -> None:
    prepare(config.cache, views, teacher.key)
    if "sources" in change:
        change = {"sources": config.sources[:1]}
    own = {name: value for name, value in change.items() if hasattr(config.cache, name) and name != "sources"}
    config = dataclasses.replace(
        config, **{k: v for k, v in change.items() if k not in own}, cache=dataclasses.replace(config.cache, **own)
    )
    with pytest.raises(CacheError, match=rf"stale, it was made with another .*{named}.*: choose another cache.folder"):
        Cache(config.cache, open_views(config), teacher.key)


def test_the_cache_of_another_teacher_is_refused(config: Stage1Config, views: Views, teacher: Teacher) -> None:
    fill(config, views, teacher, CPU)
    with pytest.raises(CacheError, match="stale, it was made with another teacher"):
        Cache(config.cache, views, "another key")
    with pytest.raises(CacheError, match="stale"):
        prepare(config.cache, views, "another key")


def test_other_pictures_under_the_same_name_are_noticed(
    config: Stage1Config, views: Views, teacher: Teacher, tmp_path: Path
) -> None:
    from tests.drawn_data import scatter, write_shard

    prepare(config.cache, views, teacher.key)
    folder = tmp_path / "other" / Path(config.sources[0].path).name
    write_shard(folder / "train-000.tar", [scatter(seed) for seed in range(50, 54)])
    source = dataclasses.replace(config.sources[0], path=str(folder))
    other = dataclasses.replace(config, sources=(source, *config.sources[1:]))
    with pytest.raises(CacheError, match="another sources"):
        Cache(config.cache, open_views(other), teacher.key)


def test_without_a_cache_the_command_to_make_one_is_named(
    config: Stage1Config, views: Views, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CacheError, match="fill it with `esam3 cache CONFIG`"):
        Cache(config.cache, views)
    nameless = dataclasses.replace(config, cache=CacheConfig())
    assert main(["cache", str(write_yaml(nameless, tmp_path / "run.yaml"))]) == 2
    assert "names no cache: set cache.folder" in capsys.readouterr().err


def test_levels_that_the_teacher_lacks_are_refused(config: Stage1Config, views: Views, teacher: Teacher) -> None:
    config = dataclasses.replace(config, cache=dataclasses.replace(config.cache, levels=("t16",)))
    with pytest.raises(TeacherError, match="this teacher has no level t16; it has p16, p8, p4"):
        fill(config, views, teacher, CPU)


def test_a_full_disk_leaves_no_half_shard(config: Stage1Config, views: Views, teacher: Teacher) -> None:
    """The limit on the size of files stands for the disk: writing fails in the middle of a shard."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            fill(config, views, teacher, CPU)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    folder = Path(config.cache.folder)
    whole = [path.stem for path in folder.glob("*.json")]  # the last shard is small enough, and may have come first
    assert len(whole) <= 1
    parts = {f"{stem}{kind}" for stem in whole for kind in (".bin", ".json")}
    assert {path.name for path in folder.iterdir()} == {"cache.yaml", *parts}
    assert fill(config, views, teacher, CPU).shards == 5 - len(whole)


def test_ray_fills_a_cache_with_the_same_bytes(
    config: Stage1Config, views: Views, teacher: Teacher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cluster of this machine alone; one shard is there already."""
    pytest.importorskip("ray", reason="filling a cache on a cluster needs Ray: pip install '.[ray]'")
    alone = dataclasses.replace(config, cache=dataclasses.replace(config.cache, folder=str(tmp_path / "alone")))
    fill(alone, views, teacher, CPU)
    folder = Path(config.cache.folder)
    prepare(config.cache, views, teacher.key)
    for name in ("000001.bin", "000001.json"):
        shutil.copy2(tmp_path / "alone" / name, folder / name)
    kept = (folder / "000001.bin").stat().st_mtime_ns
    status = main(["cache", str(write_yaml(config, tmp_path / "run.yaml")), "--threads", "1", "--ray"])
    told = capsys.readouterr()
    if "Ray did not start" in told.err:
        pytest.skip(told.err)  # Ray gives itself 30 s to start, whatever else the machine has to do
    assert status == 0 and "17 views in 4 shards made" in told.out
    assert bytes_of(folder) == bytes_of(tmp_path / "alone")
    assert (folder / "000001.bin").stat().st_mtime_ns == kept
