# SPDX-License-Identifier: Apache-2.0
"""Concept losses of stage 3: class, box, GIoU, mask, presence, and the dense terms that teach the image tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from esam3_core.distill.boxes import generalised_iou
from esam3_core.distill.matching import match
from esam3_core.distill.naming import LEAST_COVER
from esam3_core.nn.detector import Detected
from esam3_core.nn.layers import grid_centres
from esam3_core.nn.student import Student


@dataclass(frozen=True)
class LossWeights:
    """Weight of each term in the sum."""

    query: float = 4.0
    presence: float = 2.0
    box: float = 5.0
    giou: float = 2.0
    mask: float = 3.0
    dice: float = 3.0
    dense: float = 2.0
    dense_box: float = 2.0
    match: float = 2.0
    noun: float = 3.0
    named: float = 3.0
    phrase: float = 2.0


@dataclass
class Targets:
    """Answers of C pairs; see `batches.Batch`."""

    boxes: list[Tensor]  # C x [n, 4]
    masks: list[Tensor]  # C x [n, H, H]
    ignored: Tensor  # [C, H, H]
    grid: tuple[int, int]  # of the image tokens


def concept_losses(student: Student, out: Detected, targets: Targets) -> dict[str, Tensor]:
    """All terms that depend on (picture, prompt) pairs, unweighted."""
    present = torch.tensor([float(len(b) > 0) for b in targets.boxes], device=out.match.device)
    count = max(1, sum(len(b) for b in targets.boxes))
    losses = dense_losses(out, targets, count)
    layers = len(out.decoded.logits)
    pairs: list[tuple[Tensor, Tensor]] = []
    for logits, boxes, presence in zip(
        out.decoded.logits, out.decoded.boxes, out.decoded.presence, strict=True
    ):
        pairs = match(logits, boxes, targets.boxes)
        terms = {
            "query": query_loss(logits, pairs, count),
            "presence": F.binary_cross_entropy_with_logits(presence, present),
            **box_losses(boxes, pairs, targets.boxes, count),
        }
        for name, value in terms.items():
            losses[name] = losses.get(name, 0.0) + value / layers
    losses |= mask_losses(student, out, pairs, targets, count)
    return losses


def query_loss(logits: Tensor, pairs: list[tuple[Tensor, Tensor]], count: int) -> Tensor:
    """Focal loss of [C, Q] logits; a matched query should say 1, any other 0."""
    target = torch.zeros_like(logits)
    for row, (queries, _) in enumerate(pairs):
        target[row, queries] = 1.0
    return focal(logits, target).sum() / count


def box_losses(
    boxes: Tensor, pairs: list[tuple[Tensor, Tensor]], targets: list[Tensor], count: int
) -> dict[str, Tensor]:
    """L1 and GIoU of matched boxes."""
    ours = torch.cat([b[q] for b, (q, _) in zip(boxes, pairs, strict=True)])
    theirs = torch.cat([t[i] for t, (_, i) in zip(targets, pairs, strict=True)])
    return {
        "box": (ours - theirs).abs().sum() / count,
        "giou": (1 - generalised_iou(ours, theirs)).sum() / count,
    }


def mask_losses(
    student: Student,
    out: Detected,
    pairs: list[tuple[Tensor, Tensor]],
    targets: Targets,
    count: int,
) -> dict[str, Tensor]:
    """Cross-entropy and dice of the matched queries' masks. The entropy is shared out over the instance's own area:
    over the whole picture, background would drown small objects."""
    queries = out.decoded.queries[-1]
    mask_sum = out.pixels.sum() * 0.0
    dice_sum = out.pixels.sum() * 0.0
    drawn = range(len(pairs)) if out.drawn is None else out.drawn.tolist()
    for place, row in enumerate(drawn):  # none at all where no prompt of a batch has an instance
        pixels = out.pixels[place : place + 1]
        chosen, instances = pairs[row]
        if not len(chosen):
            continue
        boxes = trusted_boxes(out.decoded.boxes[-1][row, chosen].detach(), targets.boxes[row][instances])
        logits = student.detector.masks(queries[row : row + 1, chosen], boxes[None], pixels)
        logits = logits[0].flatten(1)  # [m, H * H]
        target = targets.masks[row][instances].flatten(1)
        area = target.sum(1, keepdim=True).clamp(min=4.0)
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        mask_sum = mask_sum + (entropy.sum(1, keepdim=True) / (2 * area)).clamp(max=10.0).sum()
        p = logits.sigmoid()
        overlap = 2 * (p * target).sum(1) + 1
        dice_sum = dice_sum + (1 - overlap / (p.sum(1) + target.sum(1) + 1)).sum()
    return {"mask": mask_sum / count, "dice": dice_sum / count}


def trusted_boxes(ours: Tensor, theirs: Tensor) -> Tensor:
    """Our boxes [m, 4] where they are good enough to cut a mask with, else the instances' own: a mask cannot learn
    inside a wrong box."""
    good = generalised_iou(ours, theirs) > 0.6
    return torch.where(good[:, None], ours, theirs)


def dense_losses(out: Detected, targets: Targets, count: int) -> dict[str, Tensor]:
    """Every image token: does it match the concept, is it the middle of an instance, and which box is it in?"""
    height, width = targets.grid
    centres = grid_centres(height, width).to(out.match.device)  # [N, 2]
    cover = torch.zeros_like(out.match)
    heat = torch.zeros_like(out.match)
    owner = torch.zeros_like(out.match, dtype=torch.long)
    for row, (boxes, masks) in enumerate(zip(targets.boxes, targets.masks, strict=True)):
        if len(boxes):
            pooled = F.adaptive_avg_pool2d(masks, (height, width)).flatten(1)  # [n, N]
            own = pooled / pooled.amax(1, keepdim=True).clamp(min=LEAST_COVER)  # as in `naming.relative_cover`
            cover[row] = own.sum(0).clamp(max=1)
            heat[row], owner[row] = centre_heat(boxes, own, centres)
    known = (F.adaptive_max_pool2d(targets.ignored[:, None], (height, width)) < 0.3).flatten(1).float()
    known = torch.maximum(known, (cover > 0.1).float())
    rows, columns = torch.nonzero(heat > 0.3, as_tuple=True)
    losses = {
        "match": (focal(out.match, cover, alpha=0.5) * known).sum() / (cover.sum() + 10.0),
        "dense": (quality_focal(out.dense_logits, heat) * known).sum() / (heat.sum() + 1.0),
    }
    if not len(rows):
        return losses | {"dense_box": out.dense_boxes.sum() * 0.0}
    theirs = torch.stack([targets.boxes[r][owner[r, c]] for r, c in zip(rows, columns, strict=True)])
    ours, weight = out.dense_boxes[rows, columns], heat[rows, columns]
    distance = (ours - theirs).abs().sum(-1) * 2.5 + 1 - generalised_iou(ours, theirs)
    return losses | {"dense_box": (distance * weight).sum() / weight.sum()}


def centre_heat(boxes: Tensor, cover: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """For each token how central it lies in an instance (0..1, one token of each always 1), and in which one.

    What lies in the middle of a box and not on the instance, as beside a slanting fork, is no centre.

    Args:
        boxes: [n, 4] cxcywh, n >= 1; cover: [n, N], share of each token's cell that is the instance's, 1 = as much as
            in its fullest; centres: [N, 2].
    """
    offset = (centres[:, None] - boxes[None, :, :2]) / boxes[None, :, 2:].clamp(min=1e-3)  # [N, n, 2]
    near = torch.exp(-8 * (offset**2).sum(-1))  # [N, n]
    heat = near * (offset.abs().amax(-1) < 0.5) * (2 * cover.t()).clamp(max=1)
    surest = (near * (cover.t() + 1e-3)).argmax(0)
    heat[surest, torch.arange(len(boxes))] = 1.0
    return heat.max(1)


def focal(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Sigmoid focal loss per element; targets may be soft."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = logits.sigmoid()
    miss = (p - target).abs()
    balance = alpha * target + (1 - alpha) * (1 - target)
    return balance * miss**gamma * entropy


def quality_focal(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss for soft targets: |p - t|^2 x cross-entropy."""
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (logits.sigmoid() - target).abs() ** 2 * entropy


def noun_loss(logits: Tensor, target: Tensor, known: Tensor, ignored: Tensor) -> Tensor:
    """Alignment of every image token with every noun of the vocabulary.

    Args:
        logits, target: [B, nouns, N]; known: [B, nouns]; ignored: [B, N], share of a cell nothing is known about.
    """
    weight = known[..., None] * torch.maximum((ignored < 0.3).float()[:, None], (target > 0.1).float())
    return (focal(logits, target, alpha=0.5) * weight).sum() / ((target * weight).sum() + 10.0)
