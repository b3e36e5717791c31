# SPDX-License-Identifier: Apache-2.0
"""Prompts in the loop: the teacher's frozen heads must draw from the student's features what they draw from the
teacher's (EdgeSAM, section 3.2). Refining points go where the two disagree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from esam3_core.distill.boxes import corners
from esam3_core.distill.losses import focal
from esam3_core.distill.teacher import Concepts, Levels, Teacher

FOCAL_WEIGHT = 20.0  # of the focal loss against dice (SAM, section 3)
NEGATIVE, POSITIVE, LOW_CORNER, HIGH_CORNER, PADDING = 0, 1, 2, 3, -1


def prompt_loss(
    teacher: Teacher,
    levels: Levels,
    frame: Tensor,
    boxes: Tensor,
    masks: Tensor,
    rounds: int,
    generator: torch.Generator,
) -> Tensor:
    """Dice and focal loss of the masks that the teacher's heads draw from a student's features.

    Args:
        levels: the student's features, adapted.
        frame: int64 [P]; boxes: [P, 4] cxcywh of the instances.
        masks: [P, h, w] 0..1, the teacher's own; empty ones teach nothing.
        rounds: decodings; after each but the last, a point where the two disagree is added.
        generator: source of chance, on the CPU.
    """
    points, labels = first_prompts(boxes, masks, rounds - 1, generator)
    total = masks.new_zeros(())
    for turn in range(rounds):
        drawn = teacher.prompted(levels, frame, points, labels).masks
        logits = F.interpolate(drawn[:, None], masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
        total = total + mask_loss(logits, masks)
        if turn + 1 < rounds:
            points, labels = refine(points, labels, logits, masks, generator)
    return total / rounds


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice + focal of masks [P, h, w], mean over those that are not empty."""
    told = (masks > 0.5).flatten(1).any(1).float()
    p, target = logits.sigmoid().flatten(1), masks.flatten(1)
    dice = 1 - (2 * (p * target).sum(1) + 1) / (p.sum(1) + target.sum(1) + 1)
    spot = focal(logits.flatten(1), target).mean(1)
    return ((dice + FOCAL_WEIGHT * spot) * told).sum() / told.sum().clamp(min=1.0)


def first_prompts(boxes: Tensor, masks: Tensor, more: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each instance its box or a point in its mask, by chance; with room for `more` points.

    Returns:
        points [P, 2 + more, 2], labels int64 [P, 2 + more].
    """
    points = boxes.new_zeros(len(boxes), 2 + more, 2)
    labels = torch.full((len(boxes), 2 + more), PADDING, device=boxes.device)
    points[:, :2] = corners(boxes).reshape(-1, 2, 2)
    labels[:, :2] = torch.tensor([LOW_CORNER, HIGH_CORNER], device=boxes.device)
    as_point = torch.rand(len(boxes), generator=generator) < 0.5
    for row in torch.nonzero(as_point)[:, 0].tolist():
        place = random_place(masks[row] > 0.5, generator)
        if place is not None:
            points[row, 0] = place.to(points)
            labels[row, :2] = torch.tensor([POSITIVE, PADDING], device=boxes.device)
    return points, labels


def refine(
    points: Tensor, labels: Tensor, logits: Tensor, masks: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Add to each prompt a point where student and teacher disagree, labelled by the teacher; padding stays last."""
    points, labels = points.clone(), labels.clone()
    wrong = (logits.detach() > 0) != (masks > 0.5)
    for row in range(len(points)):
        place = random_place(wrong[row], generator)
        if place is None:
            continue
        height, width = masks.shape[-2:]
        y, x = int(place[1] * height), int(place[0] * width)
        slot = int((labels[row] != PADDING).sum())
        points[row, slot] = place.to(points)
        labels[row, slot] = POSITIVE if masks[row, y, x] > 0.5 else NEGATIVE
    return points, labels


def random_place(region: Tensor, generator: torch.Generator) -> Tensor | None:
    """Centre (x, y in 0..1) of a random cell of a region bool [h, w]; None if it is empty."""
    cells = torch.nonzero(region.cpu())
    if not len(cells):
        return None
    y, x = cells[int(torch.randint(len(cells), (1,), generator=generator))].tolist()
    return torch.tensor([(x + 0.5) / region.shape[1], (y + 0.5) / region.shape[0]])


def concept_loss(ours: Concepts, theirs: Concepts) -> Tensor:
    """Cross-entropy between what the teacher's concept heads see in a student's features and in its own: where the
    concept is (each place weighed so that a small object counts), and whether it is there at all."""
    target = theirs.semantic.sigmoid()
    where = focal(ours.semantic, target, alpha=0.5).flatten(1).sum(1) / (target.flatten(1).sum(1) + 10.0)
    there = F.binary_cross_entropy_with_logits(ours.presence, theirs.presence.sigmoid())
    return where.mean() + there
