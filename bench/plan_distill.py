# SPDX-License-Identifier: Apache-2.0
"""What the full distillation would take: storage, time and cost on 8 and on 64 GPUs, for 1 % and 100 % of the data.

    python bench/plan_distill.py [--variant ev_m] [--size 512] [--price 2.5] [--peak 990] [--markdown] [--json FILE]

Measured here: the operations of teacher and student (counted by torch), the bytes of a cached view, and the processor
time to read and prepare a picture as large as SA-1B's. Assumed, because no such machine is at hand: how much of a GPU's
peak is reached, processor cores per GPU, and the price. The sizes of the data sets are those that their papers state.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from esam3_core.config import MemoryConfig, StudentConfig
from esam3_core.data.augment import view
from esam3_core.data.sa1b import read_pair
from esam3_core.data.skips import Skips
from esam3_core.distill.quantise import pack
from esam3_core.nn.memory import Memory, Remembered
from esam3_core.nn.student import Features, Student
from esam3_core.nn.trunk import _import_timm
from esam3_core.runtime.masks import CroppedMask, encode_rle

TEACHER_SIDE, TEACHER_LEVELS = 1008, {"trunk": (1024, 72), "p16": (256, 72), "p8": (256, 144), "p4": (256, 288)}
BACKWARD = 3.0  # a step costs three times its forward pass


@dataclass(frozen=True)
class Data:
    """What a stage sees, all of it."""

    name: str
    items: int  # pictures; frames of clips
    megabytes: float  # of all files as they are fetched, assumed
    concepts: int  # phrases asked about each picture; tracks in each frame
    passes: dict[str, float]  # share of the data -> how often it is seen


STAGES = {
    "stage 1": Data("SA-1B", 11_100_000, 11_100_000 * 1.0, 0, {"1 %": 30, "100 %": 1}),
    "stage 2": Data("SA-V", 4_200_000, 50_900 * 9.0, 3, {"1 %": 30, "100 %": 1}),
    "stage 3": Data("SA-Co/HQ", 5_200_000, 5_200_000 * 0.5, 8, {"1 %": 20, "100 %": 2}),
}


@dataclass(frozen=True)
class Assumed:
    """What could not be measured here."""

    peak: float  # TFLOP/s of a GPU in bf16, dense
    teacher_share: float = 0.35  # of the peak that the large products of a ViT reach
    student_share: float = 0.08  # of the peak that a small student reaches: its layers are narrow
    cores: int = 16  # processor cores for each GPU
    price: float = 2.5  # dollars for a GPU and an hour


def main() -> None:
    """Measure the pieces, print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="ev_m", help="trunk of the student (default: ev_m)")
    parser.add_argument("--size", type=int, default=512, help="pixels of the student (default: 512)")
    parser.add_argument("--price", type=float, default=2.5, help="dollars per GPU and hour (default: 2.5)")
    parser.add_argument("--peak", type=float, default=990.0, help="TFLOP/s of a GPU in bf16 (default: 990, an H100)")
    parser.add_argument("--markdown", action="store_true", help="tables for docs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pieces = measure(StudentConfig(variant=arguments.variant, size=arguments.size, memory=MemoryConfig("perceiver")))
    assumed = Assumed(peak=arguments.peak, price=arguments.price)
    tables = {"pieces": [pieces_row(k, v) for k, v in pieces.items()], "views": view_sizes(), "plan": []}
    for share in ("1 %", "100 %"):
        for gpus in (8, 64):
            tables["plan"] += plan(pieces, assumed, share, gpus)
    for name, rows in tables.items():
        print(f"\n{name}\n")
        print_table(rows, arguments.markdown)
    print(f"\nassumed: {dataclasses.asdict(assumed)}")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({**tables, "assumed": dataclasses.asdict(assumed)}, indent=1) + "\n")


def measure(config: StudentConfig) -> dict[str, float]:
    """GFLOP of each part for one picture, one phrase or one track, and the processor's time for a picture."""
    torch.manual_seed(0)
    student = Student(config).eval().requires_grad_(False)
    frame = torch.zeros(1, config.size, config.size, 3, dtype=torch.uint8)
    text = torch.ones(1, config.text.context, dtype=torch.int64)
    features = student.image_encoder(frame)
    prompt, pad = student.text_encoder(text), text == 0
    assert student.memory is not None
    return {
        "teacher: ViT and necks, a picture": teacher_gflop(),
        "student: encoder, a picture": gflop(lambda: student.image_encoder(frame)),
        "student: detector, a phrase": gflop(lambda: student.detect(features, prompt, pad)),
        "student: memory, a track in a frame": gflop(lambda: remember(student.memory, features)),
        "processor: a picture of 1500 x 2250 with 100 masks, ms": picture_ms(config.size),
        "processor: a frame of a clip, ms": picture_ms(config.size, side=(720, 1280), masks=8),
    }


def gflop(run: Any) -> float:
    """Operations of a call, in units of a thousand million; a multiplication and an addition are two."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def teacher_gflop() -> float:
    """SAM 3's ViT and both necks for one picture, counted without computing anything."""
    _import_timm()
    from transformers import Sam3VideoConfig, Sam3VideoModel

    with torch.device("meta"):
        model = Sam3VideoModel(Sam3VideoConfig()).eval().requires_grad_(False)

    def run() -> None:
        vision = model.detector_model.vision_encoder
        tokens = vision.backbone(torch.empty(1, 3, TEACHER_SIDE, TEACHER_SIDE, device="meta"))
        trunk = tokens.last_hidden_state.reshape(1, 72, 72, -1).permute(0, 3, 1, 2)
        for neck in (vision.neck, model.tracker_neck):
            for layer in neck.fpn_layers:
                layer(trunk)

    return gflop(run)


def remember(memory: Memory, features: Features) -> None:
    """One track in one frame: read with a full memory, then written."""
    own, p16 = memory.config, features.p16
    slots, pointers = torch.ones(1, own.slots, dtype=torch.bool), torch.ones(1, own.pointers, dtype=torch.bool)
    latents = own.latents_global + own.latents_2d
    known = Remembered(
        torch.zeros(1, own.slots, latents, own.width), slots.long(), slots,
        torch.zeros(1, own.pointers, p16.shape[1]), pointers.float(), pointers,
    )  # fmt: skip
    points, labels = torch.zeros(1, own.points, 2), torch.full((1, own.points), -1)
    seen = memory.propagate(p16, features.p8, features.p4, known, points, labels)
    memory.memorise(p16, seen.masks, seen.objectness, torch.zeros(1, dtype=torch.bool))


def picture_ms(size: int, side: tuple[int, int] = (1500, 2250), masks: int = 100, runs: int = 5) -> float:
    """Processor time to decode a picture and its masks and to make a view of it."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (side[0] // 12, side[1] // 12, 3), dtype=np.uint8)
    image = cv2.resize(small, side[::-1], interpolation=cv2.INTER_CUBIC)
    items = []
    for _ in range(masks):
        mask = np.zeros(side, np.uint8)
        centre = (int(rng.integers(side[1])), int(rng.integers(side[0])))
        cv2.circle(mask, centre, int(rng.integers(20, 200)), 1, -1)
        segmentation = encode_rle(CroppedMask.from_full(mask.astype(bool)))
        items.append({"segmentation": segmentation, "bbox": cv2.boundingRect(mask), "area": int(mask.sum())})
    record = {"image": {"image_id": 1, "height": side[0], "width": side[1]}, "annotations": items}
    parts = {".jpg": cv2.imencode(".jpg", image)[1].tobytes(), ".json": json.dumps(record).encode()}
    start = time.process_time()
    for _ in range(runs):
        view(read_pair("sa_1", parts, Skips()), size, rng)
    return 1000 * (time.process_time() - start) / runs


def view_sizes() -> list[dict[str, Any]]:
    """Bytes of SAM 3's answers to a view, by level."""
    rows = []
    for name, (channels, side) in TEACHER_LEVELS.items():
        values = np.random.default_rng(0).normal(size=(channels, side, side)).astype(np.float32)
        sizes = {p: sum(part.nbytes for part in pack(values, p).values()) / 1e6 for p in ("fp16", "int8")}
        views = {f"1 % of SA-1B in {p}, TB": round(111_000 * size / 1e6, 2) for p, size in sizes.items()}
        shape = f"{channels} x {side} x {side}"
        rows.append({"level": name, "shape": shape, **{f"{p} MB": round(s, 2) for p, s in sizes.items()}, **views})
    return rows


def plan(pieces: dict[str, float], assumed: Assumed, share: str, gpus: int) -> list[dict[str, Any]]:
    """Hours and dollars of each stage, the teacher in the loop."""
    part = {"1 %": 0.01, "100 %": 1.0}[share]
    rows: list[dict[str, Any]] = []
    for stage, data in STAGES.items():
        seen = data.items * part * data.passes[share]
        teacher, student, processor = per_item(pieces, stage, data)
        seconds = teacher / (1000 * assumed.peak * assumed.teacher_share)
        seconds += student / (1000 * assumed.peak * assumed.student_share)
        waiting = processor / 1000 / assumed.cores
        hours = seen * max(seconds, waiting) / 3600 / gpus
        rows.append(
            {
                "data": share,
                "GPUs": gpus,
                "stage": stage,
                "of": data.name,
                "pictures": f"{data.items * part / 1e6:.3g} M x {data.passes[share]:g}",
                "files TB": round(data.megabytes * part / 1e6, 3),
                "hours": round(hours, 1),
                "limit": "processor" if waiting > seconds else "GPU",
                "dollars": round(hours * gpus * assumed.price),
            }
        )
    total = {"data": share, "GPUs": gpus, "stage": "all", "of": "", "pictures": "", "limit": ""}
    sums = {name: round(sum(row[name] for row in rows), 2) for name in ("files TB", "hours", "dollars")}
    return [*rows, {name: {**total, **sums}[name] for name in rows[0]}]


def per_item(pieces: dict[str, float], stage: str, data: Data) -> tuple[float, float, float]:
    """GFLOP of teacher and student, and processor ms, for one picture (or frame) of a stage."""
    sees, encoder, detector, memory, picture, frame = pieces.values()
    if stage == "stage 1":
        return sees, BACKWARD * encoder, picture
    if stage == "stage 2":
        return sees, encoder + BACKWARD * memory * data.concepts, frame
    return sees, BACKWARD * (encoder + detector * data.concepts), picture


def pieces_row(name: str, value: float) -> dict[str, Any]:
    """A line of the table of pieces."""
    return {"piece": name, "ms or GFLOP": round(value, 1)}


def print_table(rows: list[dict[str, Any]], markdown: bool) -> None:
    """Columns as wide as their widest cell."""
    table = [list(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    if markdown:
        table.insert(1, ["---"] * len(widths))
    edge, between = ("| ", " | ") if markdown else ("", "  ")
    for row in table:
        print(edge + between.join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + edge[::-1])


if __name__ == "__main__":
    main()
