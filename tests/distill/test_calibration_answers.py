# SPDX-License-Identifier: Apache-2.0
"""What scores are calibrated on: the questions, masks and rules of an evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from esam3_core.config_stage3 import DistillConfig
from esam3_core.data.real import RealFolder
from esam3_core.data.scenes import SceneShards
from esam3_core.distill.calibration_answers import DROPPED, QUESTIONS, _answer, _overlaps, collect
from esam3_core.distill.stage3 import Stage3


def squares(*sides: int) -> torch.Tensor:
    """Masks [n, 16, 16], each a square in the same corner."""
    masks = torch.zeros(len(sides), 16, 16)
    for mask, side in zip(masks, sides, strict=True):
        mask[:side, :side] = 1
    return masks


def test_a_query_counts_for_the_ious_that_its_mask_reaches() -> None:
    same, hits = _overlaps(squares(10, 0) > 0, squares(9))
    kept, right = _answer(torch.tensor([1.0, 0.5]), same, hits, 2)
    assert right == pytest.approx([0.7, 0.0])  # IoU 0.81: from 0.5 to 0.8
    assert kept.tolist() == [1.0, DROPPED]  # the second draws nothing


def test_what_a_better_query_has_drawn_is_a_duplicate() -> None:
    same, hits = _overlaps(squares(10, 9) > 0, squares(9))
    kept, right = _answer(torch.tensor([0.0, 3.0]), same, hits, 2)
    assert kept.tolist() == [DROPPED, 3.0] and right == pytest.approx([0.0, 1.0])


def test_only_the_best_queries_are_drawn() -> None:
    masks = torch.cat([squares(4), squares(4).flip(1)]) > 0
    same, hits = _overlaps(masks, squares(4))
    kept, right = _answer(torch.tensor([0.0, 3.0]), same, hits, 1)
    assert kept.tolist() == [DROPPED, 3.0] and right.tolist() == [0.0, 0.0]


def test_one_instance_is_found_once() -> None:
    """Two masks that overlap little, both over a half of one instance: the better one has it."""
    masks = torch.zeros(2, 16, 16, dtype=torch.bool)
    masks[0, :10], masks[1, 5:] = True, True
    same, hits = _overlaps(masks, torch.ones(1, 16, 16))
    _, right = _answer(torch.tensor([2.0, 1.0]), same, hits, 2)
    assert right == pytest.approx([0.3, 0.1])  # IoU 10/16, and 11/16 where the first is not good enough


def test_pictures_are_asked_what_an_evaluation_asks(tiny_run: DistillConfig) -> None:
    stage = Stage3(tiny_run)
    (real,) = (RealFolder(Path(source.path)) for source in tiny_run.sources if source.kind == "real")
    (rendered,) = (SceneShards(Path(source.path)) for source in tiny_run.sources if source.kind == "scenes")
    sources = [(real, 1), (rendered, 1)]
    answers = collect(stage.student.eval(), stage.tokenizer_path, sources, 64, ((1.0,), (1.0,)))[1.0, 1.0]
    pairs = len(answers.presence)
    assert answers.logits.shape == answers.right.shape == (pairs, tiny_run.student.queries)
    assert 0 < pairs <= 2 * QUESTIONS and (answers.truths > 0).any() and (answers.truths == 0).any()
    assert np.isfinite(answers.presence).all() and 0 <= answers.right.min() <= answers.right.max() <= 1
