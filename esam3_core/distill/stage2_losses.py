# SPDX-License-Identifier: Apache-2.0
"""Losses of stage 2: masks, expected IoU, objectness, pointers that stay the object's own, and a teacher's word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esam3_core.distill.stage2_batches import ClipBatch
from esam3_core.distill.stage2_cache import Taught
from esam3_core.distill.stage2_loop import Journey

FOCAL_POWER = 2.0
MIN_AREA = 16.0  # cells of S / 4 that a small object counts as
LIKENESS = 0.1  # temperature of the pointers' likeness


@dataclass(frozen=True)
class MemoryWeights:
    """Weight of each term in the sum."""

    focal: float = 1.0
    dice: float = 2.0
    iou: float = 1.0
    objectness: float = 1.0
    pointer: float = 0.1
    again: float = 1.0
    coarse: float = 1.0


WEIGHTS = MemoryWeights()


def memory_losses(journey: Journey, batch: ClipBatch) -> dict[str, Tensor]:
    """All terms against the truth, unweighted, each the mean over the frames it can be asked of."""
    asked = is_asked(batch)
    shows = asked & batch.visible  # [F, T]
    focal, dice = mask_terms(journey.masks, batch.masks)
    with torch.no_grad():
        actual = hard_iou(journey.masks, batch.masks)
    objectness = F.binary_cross_entropy_with_logits(journey.objectness, batch.visible.float(), reduction="none")
    focal_again, dice_again = mask_terms(journey.again.masks, batch.masks[0])
    return {
        "focal": mean_of(focal, shows),
        "dice": mean_of(dice, shows),
        "iou": mean_of((journey.iou - actual).abs(), shows),
        "objectness": mean_of(objectness, asked),
        "pointer": pointer_term(journey.pointers, batch.visible & batch.known & (journey.objectness > 0)),
        "again": (WEIGHTS.focal * focal_again + WEIGHTS.dice * dice_again).mean(),
    }


def coarse_term(journey: Journey, batch: ClipBatch, look: nn.Module) -> Tensor:
    """What a linear look at the frame's tokens tells of the mask, at stride 16. Through kernels and fine maps alone,
    gradients hardly reach memory at first, and a young memory learns to draw nothing.

    Args:
        look: tokens [..., c] -> logit [..., 1].
    """
    assert journey.again.tokens is not None
    tokens = torch.cat([journey.tokens, journey.again.tokens[None]])  # [F + 1, T, N, c]
    share = F.avg_pool2d(batch.masks, 4)  # [F, T, h, w]
    logits = look(tokens)[..., 0].unflatten(-1, share.shape[2:])
    focal, dice = mask_terms(logits, torch.cat([share, share[:1]]))
    again = batch.visible & batch.known  # the second look at the first frame knows every track
    whole = is_asked(batch) & batch.visible & ~batch.near  # of a window's frame there are no other tokens
    return mean_of(focal + dice, torch.cat([whole, again[:1]]))


def is_asked(batch: ClipBatch) -> Tensor:
    """Where a track is asked for: bool [F, T]. Not in the first frame where a mask is given: that look knows neither
    the mask nor a memory."""
    asked = batch.known.clone()
    asked[0] &= ~batch.given[0]
    return asked


def mask_terms(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Focal and dice loss of masks [..., h, w] against shares 0..1 of the same shape: [...] each.

    The focal loss is shared out over the object's own area: over the whole picture, background would drown small ones.
    """
    probability = logits.sigmoid()
    cross = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (cross * (probability - target).abs() ** FOCAL_POWER).sum((-2, -1))
    focal = focal / target.sum((-2, -1)).clamp(min=MIN_AREA)
    overlap = 2 * (probability * target).sum((-2, -1)) + 1
    dice = 1 - overlap / (probability.sum((-2, -1)) + target.sum((-2, -1)) + 1)
    return focal, dice


def hard_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of masks [..., h, w] with shares 0..1, both cut at one half: [...]."""
    ours, theirs = logits > 0, target >= 0.5
    union = (ours | theirs).sum((-2, -1))
    return (ours & theirs).sum((-2, -1)) / union.clamp(min=1)


def pointer_term(pointers: Tensor, seen: Tensor) -> Tensor:
    """Later pointers [F, T, d] must be like the first one of their own track, and unlike that of any other.

    Args:
        seen: bool [F, T], where a track has a pointer of its own.
    """
    unit = F.normalize(pointers, dim=-1)
    likeness = torch.einsum("ftd,ud->ftu", unit[1:], unit[0]) / LIKENESS  # [F - 1, T, T]
    tracks = pointers.shape[1]
    unready = torch.where(seen[0], 0.0, -1e4).to(likeness)
    likeness = likeness + unready
    own = torch.arange(tracks, device=pointers.device).expand(len(likeness), -1)
    loss = F.cross_entropy(likeness.flatten(0, 1), own.flatten(), reduction="none").reshape(len(likeness), tracks)
    return mean_of(loss, seen[1:] & seen[0])


def taught_term(journey: Journey, said: Taught, adapted: Tensor) -> Tensor:
    """How far masks, objectness and pointers are from a teacher's.

    Args:
        adapted: [F, T, d'], the pointers in the teacher's channels.
    """
    share = said.masks.float() / 255
    seen = said.known & (said.objectness > 0)
    focal, dice = mask_terms(journey.masks, share)
    known = F.binary_cross_entropy_with_logits(journey.objectness, said.objectness.sigmoid(), reduction="none")
    apart = 1 - F.cosine_similarity(adapted, said.pointers, dim=-1)
    return (
        WEIGHTS.focal * mean_of(focal, seen) + WEIGHTS.dice * mean_of(dice, seen)
        + WEIGHTS.objectness * mean_of(known, said.known) + WEIGHTS.pointer * mean_of(apart, seen)
    )  # fmt: skip


def mean_of(values: Tensor, counted: Tensor) -> Tensor:
    """Mean of those values that count; 0 where none does."""
    return (values * counted).sum() / counted.sum().clamp(min=1)
