# SPDX-License-Identifier: Apache-2.0
"""A teacher's answers on disk: asked once, read in every epoch.

A folder holds `cache.yaml` (what its answers depend on) and numbered shards. Which views lie in which shard follows
from the configuration alone, so any number of processes, also on several machines, can fill the shards in any order,
each looking what is there by now, and what a kill leaves unfinished is simply made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from esam3_core.config_stage1 import CacheConfig, Stage1Config
from esam3_core.distill.answers import Answer, ask, from_record, to_record
from esam3_core.distill.cache_shard import CacheError, Record, is_sound, read_index, read_record, write_shard
from esam3_core.distill.drafts import own_order, remove_stale, write_whole
from esam3_core.distill.stage3 import open_source
from esam3_core.distill.teacher import Teacher, open_teacher
from esam3_core.distill.views import Place, Views

DESCRIPTION = "cache.yaml"
TOGETHER = 4  # views that the teacher sees at once


def describe(config: CacheConfig, views: Views, teacher_key: str) -> dict[str, Any]:
    """All that decides what the answers are."""
    return {
        "teacher": teacher_key,
        "levels": list(config.levels),
        "precision": config.precision,
        "prompts": config.prompts,
        "shard": config.shard,
        **views.describe(),
    }


class Cache:
    """A finished cache, to read.

    Args:
        config: with the folder.
        views: that training will see.
        teacher_key: of the teacher whose answers are wanted; "" = whoever filled the cache.

    Raises:
        CacheError: there is none, it is of another teacher or other views, or shards are missing.
    """

    def __init__(self, config: CacheConfig, views: Views, teacher_key: str = "") -> None:
        self.folder, self.levels = Path(config.folder), config.levels
        stored = read_description(self.folder)
        check_description(self.folder, stored, describe(config, views, teacher_key or stored["teacher"]))
        self.teacher_key = str(stored["teacher"])
        self.entries: dict[str, tuple[Path, dict[str, Any]]] = {}
        missing = []
        for number in range(shard_count(views, config.shard)):
            path = shard_path(self.folder, number)
            index = read_index(path)
            if index is None or set(index) != {place.key for place in shard_places(views, config.shard, number)}:
                missing.append(path.name)
                continue
            self.entries |= {key: (path, where) for key, where in index.items()}
        if missing:
            raise CacheError(
                f"{len(missing)} shards of {self.folder} are missing or torn ({', '.join(missing[:3])}): "
                "run `esam3 cache` with the same configuration again, it makes only those"
            )

    def __getitem__(self, place: Place) -> Answer:
        path, where = self.entries[place.key]
        return from_record(read_record(path, where), self.levels)

    @property
    def size(self) -> int:
        """Bytes of all shards."""
        return sum(path.stat().st_size for path in {path for path, _ in self.entries.values()})


def shard_count(views: Views, size: int) -> int:
    """How many shards of `size` views there are."""
    return -(-len(views) // size)


def shard_places(views: Views, size: int, number: int) -> list[Place]:
    """The views of one shard."""
    return [views.place(i) for i in range(number * size, min((number + 1) * size, len(views)))]


def shard_path(folder: Path, number: int) -> Path:
    """File of shard `number`."""
    return folder / f"{number:06d}.bin"


def read_description(folder: Path) -> dict[str, Any]:
    """What the answers of a cache depend on.

    Raises:
        CacheError: there is no cache.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise CacheError(f"no cache in {folder}: fill it with `esam3 cache CONFIG`")
    return yaml.safe_load(path.read_text())


def check_description(folder: Path, stored: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises CacheError if a cache does not hold what is wanted."""
    changed = [name for name in wanted if stored.get(name) != wanted[name]]
    if changed:
        raise CacheError(
            f"the cache in {folder} is stale, it was made with another {', '.join(changed)}: "
            "choose another cache.folder, or delete this one and run `esam3 cache` again"
        )


def prepare(config: CacheConfig, views: Views, teacher_key: str) -> list[int]:
    """Start or go on with a cache; returns the numbers of the shards that are still to be made.

    Raises:
        CacheError: the folder holds another cache.
    """
    folder = Path(config.folder)
    wanted = describe(config, views, teacher_key)
    if (folder / DESCRIPTION).is_file():
        check_description(folder, read_description(folder), wanted)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / DESCRIPTION, yaml.safe_dump(wanted, sort_keys=False))
    remove_stale(folder)
    numbers = range(shard_count(views, config.shard))
    return [number for number in numbers if not is_sound(shard_path(folder, number))]


@dataclass(frozen=True)
class Made:
    """What was added to a cache."""

    views: int
    shards: int
    bytes: int

    def __str__(self) -> str:
        if not self.shards:
            return "nothing was missing"
        each = self.bytes / self.views
        return f"{self.views} views in {self.shards} shards made, {self.bytes} bytes, {each / 1e6:.3f} MB per view"


def open_views(config: Stage1Config) -> Views:
    """All views that a run, or a cache for it, is about."""
    sources = [open_source(source) for source in config.sources]
    return Views(sources, config.sources, config.size, config.cache.views, config.seed)


def fill_here(config: Stage1Config, threads: int) -> Made:
    """Make every shard that is missing, in this process, on a GPU where there is one."""
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return fill(config, open_views(config), open_teacher(config.teacher).to(device), device)


def fill(config: Stage1Config, views: Views, teacher: Teacher, device: torch.device) -> Made:
    """Make every shard that is missing, but for those that other processes finish meanwhile."""
    todo = prepare(config.cache, views, teacher.key)
    made = [
        make_shard(config, views, teacher, number, device)
        for number in tqdm(own_order(todo), unit="shard")
        if not is_sound(shard_path(Path(config.cache.folder), number))
    ]
    return Made(sum(count for count, _ in made), len(made), sum(size for _, size in made))


def make_shard(
    config: Stage1Config, views: Views, teacher: Teacher, number: int, device: torch.device
) -> tuple[int, int]:
    """Ask the teacher about one shard's views and write it; returns how many views and bytes that are."""
    places = shard_places(views, config.cache.shard, number)

    def records() -> Iterator[tuple[str, Record]]:
        for first in range(0, len(places), TOGETHER):
            part = places[first : first + TOGETHER]
            answers = ask(teacher, [views[p] for p in part], config.cache.levels, config.cache.prompts, device)
            yield from ((p.key, to_record(a, config.cache)) for p, a in zip(part, answers, strict=True))

    return len(places), write_shard(shard_path(Path(config.cache.folder), number), records())
