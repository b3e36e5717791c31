# SPDX-License-Identifier: Apache-2.0
"""What in a frame looks like the object: features against the mean feature of the object and that of all else.

A frozen encoder tells things apart before any memory has learnt to; two means per remembered frame make that available
at once (mean colours and features as in Cutie's object memory, section 3.3), and memory attention learns the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.nn.layers import grid_centres

MEANS = 2  # latents of a remembered frame that are means: of the object, of all else
SPOT = 0.04  # radius of a point prompt, share of the frame's side
FIRST = (3.0, 2.0, -3.0)  # logits of a cell at first: for looking like the object, for lying in the prompt, always


class Likeness(nn.Module):
    """Two maps over the frame's cells, as a part of its tokens and of the mask.

    Args:
        width: c, channels of tokens and of means.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.into = nn.Linear(2, width)
        self.first = nn.Parameter(torch.tensor(FIRST))

    def unit(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, c] as directions from the frame's mean."""
        return functional.normalize(tokens - tokens.mean(1, keepdim=True), dim=-1, eps=1e-4)

    def means(self, unit: Tensor, share: Tensor) -> Tensor:
        """Mean directions [T, 2, c] of the object and of all else.

        Args:
            unit: [1 or T, N, c]; share: [T, N], share 0..1 of each cell that is the object's.
        """
        weights = torch.stack([share, 1 - share], 1)  # [T, 2, N]
        return (weights @ unit) / weights.sum(2, keepdim=True).clamp(min=0.25)

    def contrast(self, unit: Tensor, means: Tensor) -> Tensor:
        """How much cells look like the object: 1 at its mean, -1 at the mean of all else, [T, M, N].

        Args:
            unit: [1 or T, N, c]; means: [T, M, 2, c] of M frames.
        """
        apart = means[:, :, 0] - means[:, :, 1]  # [T, M, c]
        middle = (means**2).sum(-1)  # [T, M, 2]
        along = apart @ unit.transpose(1, 2) - (middle[..., :1] - middle[..., 1:]) / 2  # [T, M, N]
        return along / ((apart**2).sum(-1, keepdim=True) / 2 + 0.05)

    def remembered(self, unit: Tensor, means: Tensor, used: Tensor) -> Tensor:
        """Mean contrast [T, N] over the frames that are used, bool [T, M]."""
        weight = used.to(unit.dtype)[..., None]  # [T, M, 1]
        return (self.contrast(unit, means) * weight).sum(1) / weight.sum(1).clamp(min=1.0)

    def prompted(self, unit: Tensor, points: Tensor, labels: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The contrast [T, N] with what a prompt shows, and the place [T, N] that it shows, 0..1.

        Args:
            points: [T, K, 2] x, y in 0..1; labels: int64 [T, K], see `prompt_encoder.LABELS`.
        """
        centres = grid_centres(*grid).to(unit)  # [N, 2]
        far = ((points[:, :, None] - centres) ** 2).sum(-1)  # [T, K, N]
        spots = torch.exp(-far / (2 * SPOT**2))
        shown = (spots * (labels == 1).to(unit.dtype)[..., None]).sum(1)
        denied = (spots * (labels == 0).to(unit.dtype)[..., None]).sum(1)
        low = (points * (labels == 2).to(unit.dtype)[..., None]).sum(1)[:, None]  # [T, 1, 2]
        high = (points * (labels == 3).to(unit.dtype)[..., None]).sum(1)[:, None]
        # Half a cell of room: a box smaller than a cell must hold one.
        room = 0.5 / max(grid)
        inside = ((centres >= low - room) & (centres <= high + room)).all(-1).to(unit.dtype)  # [T, N]
        boxed = (labels == 3).any(1, keepdim=True).to(unit.dtype)
        share = ((shown + boxed * inside).clamp(max=1.0) - denied).clamp(min=0.0)
        return self.contrast(unit, self.means(unit, share)[:, None])[:, 0], share

    def logits(self, looks: Tensor, place: Tensor, grid: tuple[int, int]) -> Tensor:
        """What both maps [T, N] say of the mask, at stride 4: [T, 1, 4h, 4w]."""
        coarse = self.first[0] * looks + self.first[1] * place + self.first[2]
        return functional.interpolate(
            coarse.unflatten(1, (1, *grid)), scale_factor=4.0, mode="bilinear", align_corners=False
        )
