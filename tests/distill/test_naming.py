# SPDX-License-Identifier: Apache-2.0
"""Names of instances: what is known of them, and that each counts once, however small it is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from esam3_core.config_stage3 import DistillConfig
from esam3_core.data.augment import View
from esam3_core.data.sample import Label, Sample
from esam3_core.distill.batches import collate
from esam3_core.distill.naming import MOST_PHRASES, batch_phrases, instance_cells, label_truth, naming_loss
from esam3_core.distill.prompts import Prompt
from esam3_core.distill.stage3 import Stage3

RED_MUG = Label(frozenset({"mug", "cup", "red mug", "red cup"}), attributed=True)
SOME_CUP = Label(frozenset({"cup"}), frozenset({"mug", "glass"}))


def sample(*labels: Label, absent: tuple[str, ...] = ()) -> Sample:
    return Sample(np.zeros((8, 8, 3), np.uint8), np.zeros((len(labels), 8, 8), np.uint8), list(labels), None, absent)


def test_nobody_knows_what_a_data_set_does_not_tell():
    asked = ["cup", "mug", "fork", "red mug", "blue cup"]
    assert label_truth(RED_MUG, asked) == [1, 1, 0, 1, 0]
    assert label_truth(SOME_CUP, asked) == [1, -1, 0, -1, -1]


def test_an_instance_called_by_a_longer_name_may_bear_the_noun_that_ends_it():
    assert label_truth(Label(frozenset({"beer bottle"})), ["bottle", "cup"]) == [-1, 0]
    assert label_truth(Label(frozenset({"red cup"}), attributed=True), ["cup"]) == [0]  # would be listed


def test_where_only_checked_words_are_known_nothing_is_denied():
    one, other = Label(frozenset({"cup"}), denied=frozenset({"red cup"})), Label(frozenset({"red cup"}))
    assert label_truth(one, ["cup", "red cup", "fork"], checked_only=True) == [1, -1, -1]
    assert label_truth(other, ["cup", "red cup", "fork"], checked_only=True) == [-1, 1, -1]


def test_a_batch_of_such_pictures_denies_no_name(tiny_run: DistillConfig):
    masks, boxes = np.ones((1, 16, 16), np.float32), np.array([[0.5, 0.5, 1, 1]], np.float32)
    checked = replace(sample(Label(frozenset({"red cup"}), denied=frozenset({"cup"}))), checked_only=True)
    seen = View(np.zeros((64, 64, 3), np.uint8), masks, boxes, np.zeros((16, 16), np.float32), checked)
    batch = collate([(seen, [Prompt("red cup", "red cup", (0,))])], Stage3(tiny_run).tokenizer)
    assert (batch.instance_nouns == -1).all() and batch.instance_phrases.tolist() == [[1]]


def test_phrases_of_a_batch_are_those_with_attributes_true_and_false_ones():
    samples = [sample(RED_MUG, SOME_CUP, absent=("blue mug", "fork")), sample()]
    assert batch_phrases(samples, np.random.default_rng(0)) == ["blue mug", "red cup", "red mug"]


def test_of_many_phrases_chance_chooses():
    labels = [Label(frozenset({f"{i} cup"})) for i in range(3 * MOST_PHRASES)]
    one, other = (batch_phrases([sample(*labels)], np.random.default_rng(seed)) for seed in (0, 1))
    assert len(one) == len(other) == MOST_PHRASES and one != other


def test_every_instance_weighs_the_same_and_its_edge_nothing():
    masks = np.zeros((2, 16, 16), np.float32)  # 4 x 4 tokens
    masks[0, :9, :8] = 1  # two by two whole tokens and an edge of a quarter of a token below
    masks[1, 0, 0] = 1  # a sixteenth of one token
    cells = instance_cells(View(np.zeros((64, 64, 3), np.uint8), masks, np.zeros((2, 4)), np.zeros((16, 16)), sample()))
    assert cells.sum((1, 2)) == pytest.approx([1, 1])
    assert cells[0, :2, :2] == pytest.approx(0.25) and cells[0, 2].sum() == 0
    assert cells[1, 0, 0] == pytest.approx(1)


def test_no_instance_no_weights():
    image, ignored = np.zeros((64, 64, 3), np.uint8), np.zeros((16, 16))
    masks, boxes = np.zeros((0, 16, 16)), np.zeros((0, 4))
    assert instance_cells(View(image, masks, boxes, ignored, sample())).shape == (0, 4, 4)


def loss_of(logits: list[float], truth: list[float]) -> float:
    tokens = torch.tensor(logits)[None, :, None]  # one picture of one token
    return float(naming_loss(tokens, torch.tensor([0]), torch.ones(1, 1), torch.tensor([truth])))


def test_the_right_noun_should_win_over_wrong_ones_and_over_none():
    assert loss_of([0.0, 0.0], [1, 0]) == pytest.approx(math.log(3))
    assert loss_of([8.0, -8.0], [1, 0]) < 0.01
    assert loss_of([-8.0, 8.0], [1, 0]) > 10


def test_every_true_noun_should_win_by_itself():
    """A mug that is called a cup, and nothing else, is not done with."""
    assert loss_of([8.0, 8.0, -8.0], [1, 1, 0]) < 0.01
    assert loss_of([8.0, -8.0, -8.0], [1, 1, 0]) == pytest.approx(loss_of([-8.0, -8.0], [1, 0]) / 2, abs=0.01)


def test_true_nouns_do_not_compete():
    assert loss_of([2.0, 9.0, 1.0], [1, 1, 0]) < loss_of([2.0, 2.0, 1.0], [1, 1, 0])


def test_what_nobody_knows_is_neither_right_nor_wrong():
    assert loss_of([2.0, 9.0], [1, -1]) == pytest.approx(loss_of([2.0, -9.0], [1, -1]))
    assert loss_of([3.0, 9.0], [0, -1]) == 0.0  # it may be the second: nothing can be said


def test_what_no_phrase_is_true_of_gets_no_name():
    assert loss_of([-8.0, -8.0], [0, 0]) < 0.01 < loss_of([2.0, -8.0], [0, 0])


def test_a_picture_without_instances_or_phrases_costs_nothing():
    nobody = naming_loss(torch.zeros(1, 2, 3), torch.zeros(0).long(), torch.zeros(0, 3), torch.zeros(0, 2))
    wordless = naming_loss(torch.zeros(1, 0, 3), torch.zeros(1).long(), torch.ones(1, 3) / 3, torch.zeros(1, 0))
    assert float(nobody) == 0.0 and float(wordless) == 0.0


def test_names_come_first_and_the_detector_waits(tiny_run: DistillConfig):
    stage = Stage3(replace(tiny_run, naming_steps=2))
    batch = stage.batches(0).batch(0)
    stage.train_mode(1)
    assert set(stage.loss(batch)[1]) == {"noun", "named", "phrase"}
    stage.train_mode(2)
    assert {"query", "box", "named"} <= set(stage.loss(batch)[1])


def test_pictures_that_know_no_attributes_teach_nouns(tiny_run: DistillConfig):
    stage = Stage3(replace(tiny_run, naming_steps=1))
    masks = np.zeros((1, 16, 16), np.float32)
    masks[0, 4:8, 4:8] = 1
    boxes = np.array([[0.375, 0.375, 0.25, 0.25]], np.float32)
    seen = View(np.zeros((64, 64, 3), np.uint8), masks, boxes, np.zeros((16, 16), np.float32), sample(SOME_CUP))
    batch = collate([(seen, [Prompt("cup", "cup", (0,))])], stage.tokenizer)
    assert batch.phrase_tokens.shape == (0, batch.tokens.shape[1])
    stage.train_mode(0)
    terms = stage.loss(batch)[1]
    assert terms["phrase"] == 0.0 < terms["named"]
