# SPDX-License-Identifier: Apache-2.0
"""A small student with the neck, detector and tracker of official checkpoints, random weights."""

from __future__ import annotations

import dataclasses

import torch

from esam3_core.config import StudentConfig, TextConfig
from esam3_core.nn.sam3_memory import OFFICIAL_MEMORY, Sam3Memory
from esam3_core.nn.student import Student

TEXT = TextConfig(kind="clip", vocab_size=49408, context=8, width=64, layers=1, heads=1, ffn=64, mixers=True)
MEMORY = dataclasses.replace(
    OFFICIAL_MEMORY, width=16, ring=2, pointers=3, points=4, exemplars=2, encoder_width=64, encoder_layers=1,
    token_width=32, attention_layers=2, attention_width=32, self_layers=2, ffn=64, rope_cells=8.0, head_layers=1,
    head_heads=4, head_ffn=64,
)  # fmt: skip
CONFIG = StudentConfig(
    variant="ev_s", neck="sam3", size=112, antialias=True, width=32, heads=4, ffn=64, encoder_layers=1,
    decoder_layers=2, queries=12, masks=6, text=TEXT, memory=MEMORY,
)  # fmt: skip


def small_student(config: StudentConfig = CONFIG) -> Student:
    """Random weights and statistics everywhere, so that anything exchanged or left out shows."""
    torch.manual_seed(3)
    student = Student(config)
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[operator, union-attr]
            module.running_var.uniform_(0.8, 1.6)  # type: ignore[operator, union-attr]
    student.detector.decoder.score.bias.data.zero_()  # the official score has none
    assert isinstance(student.memory, Sam3Memory)
    student.memory.heads.masks.objectness.layers[-1].bias.data += 3.0  # objects are seen
    return student.eval().requires_grad_(False)
