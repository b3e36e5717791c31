# SPDX-License-Identifier: Apache-2.0
"""Runs of students that can teach, with random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
import yaml

from esam3_core.config import MemoryConfig, StudentConfig, to_dict
from esam3_core.nn.student import Student

MEMORY = MemoryConfig(
    kind="perceiver", width=16, ring=2, anchors=1, pointers=2, points=2, latents_global=2, latents_2d=4,
    encoder_width=16, token_width=16, attention_width=16, ffn=16, head_heads=2, head_ffn=32,
)  # fmt: skip


def measure_statistics(student: Student) -> None:
    """Give BatchNorm the statistics of random frames: without any, features fade from layer to layer."""
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    frames = torch.randint(0, 255, (4, student.config.size, student.config.size, 3), dtype=torch.uint8)
    with torch.no_grad():
        student.train().image_encoder(frames)


def write_run(folder: Path, config: StudentConfig, text: Path, memory: bool = True) -> Path:
    """The folder of a run of stage 2, as far as a teacher looks into it."""
    folder.mkdir(parents=True)
    if memory:
        config = dataclasses.replace(config, memory=MEMORY)
    torch.manual_seed(3)
    student = Student(config)
    measure_statistics(student)
    if student.memory is not None:
        with torch.no_grad():
            last = student.memory.heads.masks.objectness.layers[-1]
            last.bias.fill_(8.0)  # type: ignore[union-attr, operator]  # every object is visible
    torch.save({"average": student.state_dict(), "step": 0}, folder / "last.pt")
    (folder / "config.yaml").write_text(yaml.safe_dump({"student": to_dict(config), "text": str(text)}))
    return folder
