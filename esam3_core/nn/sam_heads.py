# SPDX-License-Identifier: Apache-2.0
"""SAM heads: a track's tokens in a frame -> mask, expected IoU, objectness, object pointer (SAM 2, section 4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from esam3_core.config import StudentConfig
from esam3_core.nn.layers import MLP
from esam3_core.nn.memory_encoder import MapNorm
from esam3_core.nn.prompt_encoder import PromptEncoder
from esam3_core.nn.two_way import TwoWay


@dataclass
class Drawn:
    """What the mask decoder says of T tracks; n = 1 + candidates masks each."""

    masks: Tensor  # [T, n, 4h, 4w] logits
    iou: Tensor  # [T, n] 0..1, expected
    objectness: Tensor  # [T] logit
    tokens: Tensor  # [T, n, c], of which pointers are made
    image: Tensor  # [T, N, c], the frame's tokens after drawing


class MaskDecoder(nn.Module):
    """Two-way transformer over [objectness, IoU, masks, prompts], then masks at stride 4.

    Args:
        width: c, channels of tokens; fine: channels of P4, half of those of P8.
    """

    def __init__(self, width: int, fine: int, layers: int, heads: int, ffn: int, candidates: int) -> None:
        super().__init__()
        self.count = 1 + candidates
        self.object_token = nn.Parameter(torch.randn(1, width) * 0.1)
        self.iou_token = nn.Parameter(torch.randn(1, width) * 0.1)
        self.mask_tokens = nn.Parameter(torch.randn(self.count, width) * 0.1)
        self.two_way = TwoWay(layers, width, heads, ffn)
        self.up8 = nn.ConvTranspose2d(width, 2 * fine, 2, stride=2)
        self.norm8 = MapNorm(2 * fine)
        self.up4 = nn.ConvTranspose2d(2 * fine, fine, 2, stride=2)
        self.kernels = nn.ModuleList(MLP(width, width, width, fine) for _ in range(self.count))
        self.iou = MLP(width, width, width, self.count)
        self.objectness = MLP(width, width, width, 1)

    def forward(
        self, image: Tensor, places: Tensor, p8: Tensor, p4: Tensor, prompts: Tensor, seen: Tensor,
        grid: tuple[int, int],
    ) -> Drawn:  # fmt: skip
        """Draw.

        Args:
            image: [T, N, c], tokens of the frame, or of a window of it, that know the track; places: [N, c], or
                [T, N, c] in windows; grid: (h, w), h * w = N.
            p8: [1 or T, 2 fine, 2h, 2w]; p4: [1 or T, fine, 4h, 4w].
            prompts: [T, n, c]; seen: bool [T, n], which of them count.
        """
        tracks, _, width = image.shape
        own = torch.cat([self.object_token, self.iou_token, self.mask_tokens]).expand(tracks, -1, -1)
        tokens = torch.cat([own, prompts], 1)
        hidden = F.pad((1.0 - seen.to(image.dtype)) * -1e4, (own.shape[1], 0))
        tokens, drawn = self.two_way(tokens, image, places, hidden[:, None, None, :])
        x = drawn.transpose(1, 2).reshape(tracks, width, *grid)
        x = F.gelu(self.norm8(self.up8(x) + p8))
        x = F.gelu(self.up4(x) + p4)  # [T, fine, 4h, 4w]
        chosen = tokens[:, 2 : 2 + self.count]  # [T, n, c]
        kernels = torch.stack([kernel(chosen[:, i]) for i, kernel in enumerate(self.kernels)], 1)
        masks = (kernels @ x.flatten(2)).reshape(tracks, self.count, *x.shape[2:])
        return Drawn(masks, self.iou(tokens[:, 1]).sigmoid(), self.objectness(tokens[:, 0])[:, 0], chosen, drawn)


class SamHeads(nn.Module):
    """Prompt encoder, mask decoder, and the projection that makes a pointer of a mask's token.

    Args:
        width: c, channels of tokens; config: of the student.
    """

    def __init__(self, width: int, config: StudentConfig) -> None:
        super().__init__()
        own = config.memory
        self.prompts = PromptEncoder(width)
        self.masks = MaskDecoder(
            width, config.width // 8, own.head_layers, own.head_heads, own.head_ffn, own.candidates
        )
        self.pointer = MLP(width, width, width, config.width)

    def forward(
        self, image: Tensor, p8: Tensor, p4: Tensor, points: Tensor, labels: Tensor, grid: tuple[int, int],
        places: Tensor | None = None,
    ) -> Drawn:  # fmt: skip
        """Image tokens [T, N, c] that know the track, fine maps, points [T, K, 2], labels [T, K] -> what is drawn.

        `places` [T, N, c] are those of windows; None = the tokens are the whole frame's.
        """
        prompts, seen = self.prompts(points, labels)
        places = self.prompts.grid(*grid) if places is None else places
        return self.masks(image + self.prompts.no_mask, places, p8, p4, prompts, seen, grid)
