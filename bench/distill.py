# SPDX-License-Identifier: Apache-2.0
"""What distillation costs: the fit loop beside a plain one, processes, memory, and the cache of a teacher's answers.

    python bench/distill.py [--variant ev_s] [--size 192] [--pictures 8] [--steps 8] [--scenes DIR] [--teacher RUN]
                            [--tables loop memory cache] [--json FILE]

Training is stage 3 on scenes; without --scenes a few are rendered first. Without --teacher, a random student of the
default trunk is the teacher, whose features are as large as a trained one's. One thread per process. Speeds are those
of the fastest half of the steps, in the best of two rounds: what else runs here can only slow them. "against plain" is
the median over the rounds, each of which measures all loops one after the other.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from esam3_core.config import SceneConfig, StudentConfig, TextConfig, to_dict
from esam3_core.config_fit import SourceConfig, TeacherConfig
from esam3_core.config_stage1 import CacheConfig, Stage1Config
from esam3_core.config_stage3 import DistillConfig
from esam3_core.distill.activations import forget_activations
from esam3_core.distill.answers import ask
from esam3_core.distill.cache import Cache, fill, open_views
from esam3_core.distill.stage3 import Stage3
from esam3_core.distill.teacher import Teacher, open_teacher
from esam3_core.distill.teacher_student import StudentTeacher
from esam3_core.distill.text.phrases import negative_nouns
from esam3_core.distill.text.tokenizer import build_tokenizer
from esam3_core.nn.student import Student
from esam3_core.nn.text import TextEncoder, save_text_encoder
from esam3_core.scenes.shards import render

SMALL_TEXT = TextConfig(vocab_size=2048, context=16, width=64, layers=1, heads=2, ffn=64, embedding=32)
TABLES = ("loop", "memory", "cache")
WARM_UP = 3  # steps that are not counted
ROUNDS = 2
CPU = torch.device("cpu")


def main() -> None:
    """Measure, print tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="ev_s", help="trunk of the student (default: ev_s)")
    parser.add_argument("--size", type=int, default=192, help="pixels (default: 192)")
    parser.add_argument("--pictures", type=int, default=8, help="per step and process (default: 8)")
    parser.add_argument("--steps", type=int, default=8, help="counted steps (default: 8)")
    parser.add_argument("--scenes", type=Path, help="folder of scene shards")
    parser.add_argument("--teacher", default="", help="run or bundle whose features are cached")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES, help="what to measure (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        config = prepare(arguments, Path(scratch))
        measures = {
            "loop": lambda: loops(config, Path(scratch), arguments.steps),
            "memory": lambda: memory(config),
            "cache": lambda: caches(config, Path(scratch), make_teacher(arguments, config)),
        }
        tables = {name: measures[name]() for name in arguments.tables}
    for name, rows in tables.items():
        print(f"\n{name}")
        print_table(rows)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        told = {name: getattr(arguments, name) for name in ("variant", "size", "pictures", "steps")}
        arguments.json.write_text(json.dumps({**told, **tables}, indent=1) + "\n", encoding="utf-8")


def prepare(arguments: argparse.Namespace, scratch: Path) -> DistillConfig:
    """Data, a text encoder with random weights, and the configuration of a run."""
    scenes = arguments.scenes
    if scenes is None:
        scenes = scratch / "scenes"
        render(scenes, SceneConfig(width=256, height=192), seed=1, scenes=8, frames=3, workers=1)
    (scratch / "text").mkdir()
    tokenizer = build_tokenizer(negative_nouns(), SMALL_TEXT.vocab_size, SMALL_TEXT.context)
    tokenizer.save(str(scratch / "text/tokenizer.json"))
    student = StudentConfig(variant=arguments.variant, text=SMALL_TEXT, encoder_layers=1, decoder_layers=2)
    save_text_encoder(TextEncoder(SMALL_TEXT, student.width), scratch / "text")
    return DistillConfig(
        student=student, sources=(SourceConfig(str(scenes)),), text=str(scratch / "text"), imagenet=False,
        size=arguments.size, pictures=arguments.pictures, frozen_steps=0, frozen=(), checkpoint_every=3600.0,
    )  # fmt: skip


def loops(config: DistillConfig, scratch: Path, steps: int) -> list[dict[str, Any]]:
    """Pictures per second of a plain loop, and of `esam3 distill` on one process and on two; in turns, so that what
    else runs here slows all alike."""
    rounds = []
    for turn in range(ROUNDS):
        plain = (plain_loop(config, steps), float("nan"))
        rounds.append([plain, *(fit_loop(config, scratch / f"run{n}-{turn}", steps, n) for n in (1, 2))])
    names = ("plain, batches made in between", "esam3 distill, 1 process", "esam3 distill, 2 processes")
    rows = []
    for place, name in enumerate(names):
        speed, wait = max(measured[place] for measured in rounds)
        against = statistics.median(measured[place][0] / measured[0][0] for measured in rounds)
        shown = "-" if np.isnan(wait) else round(100 * wait, 1)
        rows.append({"loop": name, "pictures/s": round(speed, 2), "against plain": round(against, 2), "wait %": shown})
    return rows


def plain_loop(config: DistillConfig, steps: int) -> float:
    """Pictures per second of the shortest loop that trains: batch, loss, gradient, step."""
    stage = Stage3(config)
    groups = [{"params": group["params"]} for group in stage.parameters()]
    optimiser = torch.optim.AdamW(groups, lr=config.rate)
    batches = stage.batches(0)
    stage.train_mode(0)
    times = []
    for step in range(WARM_UP + steps):
        start = time.perf_counter()
        optimiser.zero_grad(set_to_none=True)
        stage.loss(batches.batch(step))[0].backward()
        optimiser.step()
        times.append(time.perf_counter() - start)
    return config.pictures / steady(times[WARM_UP:])


def fit_loop(config: DistillConfig, folder: Path, steps: int, processes: int) -> tuple[float, float]:
    """Pictures per second of the command, and the share of the time it waits for data."""
    path = folder.with_suffix(".yaml")
    config = dataclasses.replace(config, steps=WARM_UP + steps, warmup=1, decay=1)
    path.write_text(yaml.safe_dump(json.loads(json.dumps(to_dict(config)))))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    words = ["-m", "esam3_core", "distill", "stage3", str(path), "--out", str(folder), "--threads", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *words], check=True, env=environment, capture_output=True)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()][WARM_UP:]
    waited, worked = sum(row["wait"] for row in rows), sum(row["seconds"] for row in rows)
    seconds = steady([row["wait"] + row["seconds"] for row in rows])
    return config.pictures * processes / seconds, waited / (waited + worked)


def steady(times: list[float]) -> float:
    """Mean of the faster half."""
    half = sorted(times)[: max(1, len(times) // 2)]
    return sum(half) / len(half)


def memory(config: DistillConfig) -> list[dict[str, Any]]:
    """What autograd keeps between the two passes, and the time of a step, with and without checkpointing."""
    rows = []
    for checkpointing in (False, True):
        stage = Stage3(config)
        stage.parameters()
        stage.train_mode(0)
        if checkpointing:
            forget_activations(stage.student)
        batch = stage.batches(0).batch(0)
        stage.loss(batch)[0].backward()
        kept = kept_bytes(stage, batch)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            stage.loss(batch)[0].backward()
            times.append(time.perf_counter() - start)
        rows.append(
            {
                "checkpointing": "yes" if checkpointing else "no",
                "activations MB per picture": round(kept / config.pictures / 1e6, 1),
                "s per step": round(steady(times), 2),
            }
        )
    return rows


def kept_bytes(stage: Stage3, batch: Any) -> int:
    """Bytes of the tensors that autograd keeps for the backward pass, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in stage.student.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total, _ = stage.loss(batch)  # held until the sum is made, so that no storage is used twice
    size = sum(kept.values())
    del total
    return size


def caches(config: DistillConfig, scratch: Path, teacher: Teacher) -> list[dict[str, Any]]:
    """Size, speed and loss of a cache, for each precision."""
    rows = []
    for precision in ("fp16", "int8"):
        own = CacheConfig(folder=str(scratch / precision), precision=precision)
        first = Stage1Config(student=config.student, sources=config.sources, size=config.size, cache=own)
        views = open_views(first)
        start = time.perf_counter()
        made = fill(first, views, teacher, CPU)
        filled = time.perf_counter() - start
        cache = Cache(own, views, teacher.key)
        places = views.places()
        start = time.perf_counter()
        for place in places:
            cache[place]
        read = time.perf_counter() - start
        row = {
            "precision": precision,
            "MB/view": round(made.bytes / made.views / 1e6, 3),
            "made views/s": round(made.views / filled, 1),
            "read views/s": round(made.views / read),
            "read MB/s": round(made.bytes / read / 1e6),
        }
        for name in own.levels:
            errors = [
                np.sqrt(((cache[p].levels[name] - told) ** 2).mean() / (told**2).mean())
                for p in places[:8]
                for told in [ask(teacher, [views[p]], own.levels, 0, CPU)[0].levels[name]]
            ]
            row[f"error {name} %"] = round(100 * float(np.mean(errors)), 3)
        rows.append(row)
    return rows


def make_teacher(arguments: argparse.Namespace, config: DistillConfig) -> Teacher:
    """The teacher asked for, or a random student of the default trunk."""
    if arguments.teacher:
        return open_teacher(TeacherConfig("student", arguments.teacher, config.size))
    torch.manual_seed(0)
    student = Student(dataclasses.replace(config.student, variant="en_s"))
    measure_statistics(student, config.size)
    return StudentTeacher(student, Stage3(config).tokenizer, config.size)


def measure_statistics(student: Student, size: int) -> None:
    """Give BatchNorm the statistics of random frames: without any, features fade from layer to layer."""
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    frames = torch.randint(0, 255, (4, size, size, 3), dtype=torch.uint8)
    with torch.no_grad():
        student.train().image_encoder(frames)


def print_table(rows: list[dict[str, Any]]) -> None:
    """Columns as wide as their widest cell."""
    table = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


if __name__ == "__main__":
    main()
