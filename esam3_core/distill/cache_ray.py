# SPDX-License-Identifier: Apache-2.0
"""Filling a cache on many machines with Ray Data: every actor holds a teacher and makes whole shards.

The folder of the cache must be the same for all machines. A shard is complete or not there, so an actor that dies
costs one shard's work; Ray starts another in its place.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.config import from_dict, to_dict
from esam3_core.config_stage1 import Stage1Config
from esam3_core.distill.cache import Made, make_shard, open_views, prepare
from esam3_core.distill.cache_shard import CacheError
from esam3_core.distill.teacher import open_teacher

ATTEMPTS = 2  # to start Ray


class ShardMaker:
    """What an actor does.

    Args:
        values: the configuration of the run, as JSON; threads: CPU threads of an actor without a GPU.
    """

    def __init__(self, values: str, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.config = from_dict(Stage1Config, json.loads(values))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.views = open_views(self.config)
        self.teacher = open_teacher(self.config.teacher).to(self.device)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Shard numbers {"item": [n]} -> views and bytes of each."""
        made = [
            make_shard(self.config, self.views, self.teacher, int(number), self.device) for number in batch["item"]
        ]
        return {"views": [count for count, _ in made], "bytes": [size for _, size in made]}


def fill_with_ray(config: Stage1Config, threads: int) -> Made:
    """Make every shard that is missing, on the cluster of RAY_ADDRESS or on one that is started here.

    Args:
        threads: CPU threads of each actor; as many actors run as there are GPUs, without any as CPUs allow.
    """
    import ray

    config = absolute(config)
    todo = prepare(config.cache, open_views(config), open_teacher(config.teacher).key)
    if not todo:
        return Made(0, 0, 0)
    started = not ray.is_initialized()
    if started:
        _start(ray)
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
        threads = min(threads, int(ray.cluster_resources()["CPU"]))
        actors = gpus or int(ray.cluster_resources()["CPU"]) // threads
        ray.data.DataContext.get_current().enable_progress_bars = False
        rows = ray.data.from_items(todo, override_num_blocks=len(todo)).map_batches(
            ShardMaker,  # type: ignore[arg-type]
            fn_constructor_args=(json.dumps(to_dict(config)), threads),
            batch_size=1,
            num_cpus=0 if gpus else threads,
            num_gpus=1 if gpus else 0,
            concurrency=min(actors, len(todo)),
        ).take_all()  # fmt: skip
    finally:
        if started:
            ray.shutdown()
    return Made(sum(row["views"] for row in rows), len(rows), sum(row["bytes"] for row in rows))


def _start(ray: Any) -> None:
    """Join the cluster of RAY_ADDRESS, or start one here; Ray waits half a minute for itself, which a busy machine may
    not give it."""
    reason: Exception | None = None
    for _ in range(ATTEMPTS):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.WARNING)
            return
        except Exception as error:  # Ray raises no more special one
            ray.shutdown()
            reason = error
    raise CacheError(
        f"Ray did not start ({reason}): give it a less busy machine, start a cluster with `ray start --head` and "
        "set RAY_ADDRESS, or leave --ray out"
    ) from reason


def absolute(config: Stage1Config) -> Stage1Config:
    """The configuration with paths that do not depend on the working directory."""

    def full(path: str) -> str:
        return str(Path(path).resolve()) if path and Path(path).exists() else path

    sources = tuple(
        dataclasses.replace(source, path=full(source.path), pictures=full(source.pictures)) for source in config.sources
    )
    return dataclasses.replace(
        config,
        sources=sources,
        teacher=dataclasses.replace(config.teacher, path=full(config.teacher.path)),
        cache=dataclasses.replace(config.cache, folder=str(Path(config.cache.folder).resolve())),
    )
