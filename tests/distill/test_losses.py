# SPDX-License-Identifier: Apache-2.0
"""Concept losses: near zero for a perfect answer, larger for each thing that is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from esam3_core.config import StudentConfig
from esam3_core.distill.losses import (
    LossWeights,
    Targets,
    centre_heat,
    concept_losses,
    focal,
    noun_loss,
    quality_focal,
    trusted_boxes,
)
from esam3_core.nn.decoder import Decoded
from esam3_core.nn.detector import Detected
from esam3_core.nn.layers import grid_centres
from esam3_core.nn.masks import POSITION_CHANNELS
from esam3_core.nn.student import Student

CELLS = 8  # of the image tokens, per side
FINE = 4 * CELLS  # of the masks
SURE = 12.0  # logit
BOXES = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.6875, 0.625, 0.375, 0.5]])  # their sides lie on cell borders


def box_mask(box: Tensor) -> Tensor:
    (x1, y1), (x2, y2) = (((box[:2] + sign * box[2:] / 2) * FINE).round().int().tolist() for sign in (-1, 1))
    mask = torch.zeros(FINE, FINE)
    mask[y1:y2, x1:x2] = 1
    return mask


@pytest.fixture()
def student(tiny_config: StudentConfig) -> Student:
    """A student whose mask head reads the mask of query i off pixel channel i."""
    torch.set_num_threads(1)
    student = Student(tiny_config)
    with torch.no_grad():
        for layer in student.detector.masks.query.layers:
            torch.nn.init.zeros_(layer.bias)
            torch.nn.init.eye_(layer.weight)
    return student


@pytest.fixture()
def targets() -> Targets:
    """The first pair is true of two instances, the second of none."""
    masks = torch.stack([box_mask(box) for box in BOXES])
    nothing = torch.zeros(0, FINE, FINE)
    return Targets([BOXES, torch.zeros(0, 4)], [masks, nothing], torch.zeros(2, FINE, FINE), (CELLS, CELLS))


def relative(masks: torch.Tensor) -> torch.Tensor:
    """Share of each cell [n, N] that an instance covers, 1 in its fullest."""
    cover = torch.nn.functional.avg_pool2d(masks[None], 4)[0].flatten(1)
    return cover / cover.amax(1, keepdim=True)


def perfect(config: StudentConfig, targets: Targets) -> Detected:
    """The answer that is right in every respect."""
    queries = torch.eye(config.queries, config.width)[None].repeat(2, 1, 1)
    logits = torch.full((2, config.queries), -SURE)
    logits[0, :2] = SURE
    boxes = torch.full((2, config.queries, 4), 0.1)
    boxes[0, :2] = BOXES
    presence = torch.tensor([SURE, -SURE])
    channels = config.pixel_width + POSITION_CHANNELS
    pixels = torch.zeros(2, channels, FINE, FINE)
    pixels[0, :2] = (targets.masks[0] * 2 - 1) * SURE
    cover = relative(targets.masks[0]).sum(0).clamp(max=1)
    match = torch.stack([(cover * 2 - 1) * SURE, torch.full((CELLS**2,), -SURE)])
    heat, owner = centre_heat(BOXES, relative(targets.masks[0]), grid_centres(CELLS, CELLS))
    dense = torch.stack([heat.logit(1e-5), torch.full((CELLS**2,), -SURE)])
    dense_boxes = torch.stack([BOXES[owner], torch.rand(CELLS**2, 4)])
    layers = config.decoder_layers
    decoded = Decoded([queries] * layers, [logits] * layers, [boxes] * layers, [presence] * layers)
    return Detected(match, dense, dense_boxes, decoded, pixels)


def test_a_perfect_answer_costs_next_to_nothing(student: Student, targets: Targets) -> None:
    losses = concept_losses(student, perfect(student.config, targets), targets)
    assert set(losses) | {"noun", "named", "phrase"} == set(LossWeights.__dataclass_fields__)
    for name, value in losses.items():
        assert 0 <= value.item() < 0.02, name


def _one_logit_down(out: Detected) -> None:
    for logits in out.decoded.logits:
        logits[0, 0] = -SURE


def _false_alarm(out: Detected) -> None:
    for logits in out.decoded.logits:
        logits[1, 3] = SURE


def _presence_wrong(out: Detected) -> None:
    for presence in out.decoded.presence:
        presence[1] = SURE


def _box_moved(out: Detected) -> None:
    for boxes in out.decoded.boxes:
        boxes[0, 0, 0] += 0.2


def _mask_inverted(out: Detected) -> None:
    out.pixels[0, 0] *= -1


def _match_everywhere(out: Detected) -> None:
    out.match.fill_(SURE)


def _dense_silent(out: Detected) -> None:
    out.dense_logits.fill_(-SURE)


def _dense_box_wrong(out: Detected) -> None:
    out.dense_boxes += 0.3


@pytest.mark.parametrize(
    ("spoil", "terms"),
    [
        (_one_logit_down, {"query"}),
        (_false_alarm, {"query"}),
        (_presence_wrong, {"presence"}),
        (_box_moved, {"box", "giou"}),
        (_mask_inverted, {"mask", "dice"}),
        (_match_everywhere, {"match"}),
        (_dense_silent, {"dense"}),
        (_dense_box_wrong, {"dense_box"}),
    ],
)
def test_each_mistake_shows_in_its_own_terms(
    spoil: Callable[[Detected], None], terms: set[str], student: Student, targets: Targets
) -> None:
    out = perfect(student.config, targets)
    spoil(out)
    losses = concept_losses(student, out, targets)
    assert {name for name, value in losses.items() if value > 0.05} == terms


def test_what_is_ignored_costs_nothing_in_the_dense_terms(student: Student, targets: Targets) -> None:
    out = perfect(student.config, targets)
    targets.ignored[1] = 1.0
    out.match[1], out.dense_logits[1] = SURE, SURE
    losses = concept_losses(student, out, targets)
    assert losses["match"] < 0.02 and losses["dense"] < 0.02


def test_a_batch_without_any_instance_has_finite_losses_and_gradients(student: Student, targets: Targets) -> None:
    empty = Targets([torch.zeros(0, 4)] * 2, [torch.zeros(0, FINE, FINE)] * 2, targets.ignored, targets.grid)
    out = perfect(student.config, targets)
    out.dense_boxes.requires_grad_()
    losses = concept_losses(student, out, empty)
    total = sum(losses.values())
    assert isinstance(total, Tensor) and torch.isfinite(total)
    total.backward()


def test_more_instances_than_queries_are_no_error(student: Student, targets: Targets) -> None:
    many = student.config.queries + 3
    crowd = Targets(
        [BOXES[:1].repeat(many, 1), targets.boxes[1]],
        [targets.masks[0][:1].repeat(many, 1, 1), targets.masks[1]],
        targets.ignored,
        targets.grid,
    )
    losses = concept_losses(student, perfect(student.config, targets), crowd)
    assert all(torch.isfinite(value) for value in losses.values())


def test_focal_without_focus_is_balanced_cross_entropy() -> None:
    logits, target = torch.randn(50), torch.rand(50).round()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    torch.testing.assert_close(focal(logits, target, alpha=0.5, gamma=0.0), entropy / 2)


def test_quality_focal_is_least_at_its_soft_target() -> None:
    logits = torch.linspace(-6, 6, 241)
    for target in (0.0, 0.3, 0.8):
        best = logits[quality_focal(logits, torch.full_like(logits, target)).argmin()]
        assert float(best.sigmoid()) == pytest.approx(target, abs=0.02)


def test_one_token_is_always_the_middle_of_its_instance() -> None:
    """An instance smaller than a cell must still teach one token."""
    tiny = torch.tensor([[0.53, 0.53, 0.01, 0.01]])
    heat, owner = centre_heat(tiny, torch.zeros(1, CELLS**2), grid_centres(CELLS, CELLS))
    assert heat.max() == 1 and int((heat > 0.3).sum()) == 1
    assert owner[heat.argmax()] == 0


def test_what_lies_in_a_box_beside_the_instance_is_no_middle() -> None:
    """The lower left half of a square, as a slanting fork leaves one: its box's centre is somebody else's."""
    box = torch.tensor([[0.5, 0.5, 1.0, 1.0]])
    cover = torch.tril(torch.ones(CELLS, CELLS), -1).reshape(1, -1)
    heat, _ = centre_heat(box, cover, grid_centres(CELLS, CELLS))
    assert float(heat[cover[0] == 0].max()) == 0.0 and heat.max() == 1


def test_masks_are_cut_with_the_true_box_until_our_own_is_good() -> None:
    ours = torch.stack([BOXES[0], BOXES[1] + 0.3])
    assert torch.equal(trusted_boxes(ours, BOXES), BOXES)
    near = BOXES + 0.005
    assert torch.equal(trusted_boxes(near, BOXES), near)


def test_nouns_of_unknown_truth_cost_nothing() -> None:
    logits, target = torch.full((1, 2, 4), SURE), torch.zeros(1, 2, 4)
    ignored = torch.zeros(1, 4)
    known = torch.tensor([[0.0, 0.0]])
    assert noun_loss(logits, target, known, ignored) == 0
    assert noun_loss(logits, target, torch.tensor([[1.0, 0.0]]), ignored) > 0.5
    assert noun_loss(logits, target, torch.tensor([[1.0, 0.0]]), torch.ones(1, 4)) == 0
