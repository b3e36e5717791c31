# SPDX-License-Identifier: Apache-2.0
"""Geometry encoder of official checkpoints: points and boxes on a frame as prompt tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from esam3_core.nn.fusion import FusionLayer
from esam3_core.nn.layers import pad_bias, sine_embedding, sine_map
from esam3_core.nn.roi_align import roi_align, sample_points

BINS = 7  # parts along each side of a box whose features are kept apart
LAYERS = 3


class GeometryLayer(FusionLayer):
    """A fusion layer whose tokens are prompts that look at each other, by content only, and at the frame."""

    def forward(self, x: Tensor, bias: Tensor, key: Tensor, value: Tensor) -> Tensor:  # type: ignore[override]
        y = self.norm1(x)
        x = x + self.self_attention(y, y, y, bias)
        x = x + self.prompt_attention(self.norm2(x), key, value)
        return x + self.mlp(self.norm3(x))


class GeometryEncoder(nn.Module):
    """Boxes and points -> prompt tokens; one more token, which sums up, is always there.

    Args:
        width: d.
        heads, ffn: of the layers.
    """

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.summary = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.label = nn.Parameter(torch.randn(2, width) * 0.02)  # negative, positive
        self.image_norm = nn.LayerNorm(width)
        self.point_place = nn.Linear(2, width)
        self.point_seen = nn.Linear(width, width)
        self.point_wave = nn.Linear(width, width)
        self.box_place = nn.Linear(4, width)
        self.box_seen = nn.Linear(width * BINS * BINS, width)
        self.box_wave = nn.Linear(width + 2, width)
        self.project = nn.Linear(width, width)
        self.norm_in = nn.LayerNorm(width)
        self.layers = nn.ModuleList(GeometryLayer(width, heads, ffn) for _ in range(LAYERS))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, p16: Tensor, boxes: Tensor | None = None, box_labels: Tensor | None = None,
                points: Tensor | None = None, point_labels: Tensor | None = None) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Encode what the user pointed at.

        Args:
            p16: [B, d, h, w], B = C or 1.
            boxes: [C, E, 4] cxcywh in 0..1.
            box_labels: int64 [C, E], 1 = such a thing, 0 = not such a thing, -1 = padding.
            points: [C, K, 2] x, y in 0..1; point_labels: int64 [C, K], as for boxes.

        Returns:
            Tokens [C, K + E + 1, d] of points, boxes and the summary (C = 1 without boxes and points), and which are
            padding, bool [C, K + E + 1]; where all boxes and points given are padding, so is the summary.
        """
        tokens, pads = [], []
        maps = self.image_norm(p16.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # only used where there are prompts
        if points is not None and point_labels is not None:
            tokens.append(self._points(maps, points) + self._labels(point_labels))
            pads.append(point_labels < 0)
        if boxes is not None and box_labels is not None:
            tokens.append(self._boxes(maps, boxes) + self._labels(box_labels))
            pads.append(box_labels < 0)
        if not tokens:
            none = torch.zeros(1, 1, dtype=torch.bool, device=p16.device)
            return self._look(self.summary, none, p16), none
        pad = torch.cat(pads, 1)
        seen = torch.cat([pad, torch.zeros_like(pad[:, :1])], 1)  # the summary always sees and is seen
        tokens.append(self.summary.expand(pad.shape[0], -1, -1))
        empty = pad.float().amin(1, keepdim=True) > 0.5  # [C, 1]
        return self._look(torch.cat(tokens, 1), seen, p16), torch.cat([pad, empty], 1)

    def _labels(self, labels: Tensor) -> Tensor:
        return nn.functional.embedding(labels.clamp(min=0), self.label)

    def _points(self, maps: Tensor, points: Tensor) -> Tensor:
        """[C, K, d]"""
        wave = sine_embedding(points, maps.shape[1] // 2)  # x, y
        return self.point_place(points) + self.point_seen(sample_points(maps, points)) + self.point_wave(wave)

    def _boxes(self, maps: Tensor, boxes: Tensor) -> Tensor:
        """[C, E, d]"""
        centre = torch.stack([boxes[..., 1], boxes[..., 0]], -1)  # y, x
        sides = torch.stack([boxes[..., 3], boxes[..., 2]], -1)  # h, w
        wave = torch.cat([sine_embedding(centre, maps.shape[1] // 2), sides], -1)
        seen = roi_align(maps, boxes, BINS).flatten(2)  # [C, E, d * BINS * BINS]
        return self.box_place(boxes) + self.box_seen(seen) + self.box_wave(wave)

    def _look(self, tokens: Tensor, pad: Tensor, p16: Tensor) -> Tensor:
        width, height, columns = p16.shape[1:]
        image = p16.flatten(2).transpose(1, 2)  # [B, N, d]
        key = image + sine_map(height, columns, width).to(image)
        tokens = self.norm_in(self.project(tokens))
        bias = pad_bias(pad)
        for layer in self.layers:
            tokens = layer(tokens, bias, key, image)
        return self.norm_out(tokens)
