# SPDX-License-Identifier: Apache-2.0
"""Blocks of official models against torch's own: RoIAlign, point samples, pyramid, positions, mask head."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.convert.entries import Entries
from esam3_core.convert.neck import pyramid_state
from esam3_core.nn.fusion import FusionLayer
from esam3_core.nn.layers import LONG, Attention, sine_map
from esam3_core.nn.roi_align import roi_align, sample_points
from esam3_core.nn.sam3_masks import Sam3MaskHead
from esam3_core.nn.sam3_neck import HIDDEN, Pyramid
from esam3_core.nn.sam3_prompts import GeometryEncoder
from esam3_core.runtime.errors import CheckpointError


def bilinear(maps: Tensor, y: float, x: float) -> Tensor:
    """RoIAlign's sample of a map [d, h, w], as torchvision defines it."""
    height, width = maps.shape[1:]
    if not (-1.0 <= y <= height and -1.0 <= x <= width):
        return torch.zeros(len(maps))
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = min(int(y), height - 1), min(int(x), width - 1)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    down, across = y - top, x - left
    upper = maps[:, top, left] * (1 - across) + maps[:, top, right] * across
    lower = maps[:, bottom, left] * (1 - across) + maps[:, bottom, right] * across
    return upper * (1 - down) + lower * down


def slow_roi_align(maps: Tensor, box: list[float], bins: int) -> Tensor:
    """RoIAlign sample by sample: maps [d, h, w], box cxcywh in 0..1 -> [d, bins, bins]."""
    height, width = maps.shape[1:]
    left, top = (box[0] - box[2] / 2) * width, (box[1] - box[3] / 2) * height
    bin_w, bin_h = max(box[2] * width, 1.0) / bins, max(box[3] * height, 1.0) / bins
    across, down = math.ceil(bin_w), math.ceil(bin_h)
    out = torch.zeros(len(maps), bins, bins)
    for row in range(bins):
        for column in range(bins):
            samples = [
                bilinear(maps, top + (row + (j + 0.5) / down) * bin_h, left + (column + (i + 0.5) / across) * bin_w)
                for j in range(down)
                for i in range(across)
            ]
            out[:, row, column] = torch.stack(samples).mean(0)
    return out


@pytest.mark.parametrize(
    "box",
    [[0.4, 0.55, 0.3, 0.25], [0.5, 0.5, 1, 1], [0.02, 0.97, 0.1, 0.2], [0.5, 0.5, 0.001, 0.9], [0.9, 0.1, 0.6, 0.5]],
    ids=["inside", "whole", "over the edge", "thin", "half outside"],
)
def test_roi_align_takes_the_mean_of_as_many_samples_as_the_box_needs(box: list[float]) -> None:
    maps = torch.randn(2, 3, 40, 36)
    boxes = torch.tensor([[box, box], [box, [0.3, 0.3, 0.2, 0.2]]])
    aligned = roi_align(maps, boxes, 7)
    assert aligned.shape == (2, 2, 3, 7, 7)
    for concept in (0, 1):
        assert torch.allclose(aligned[concept, 0], slow_roi_align(maps[concept], box, 7), atol=1e-5)


def test_points_are_sampled_as_grid_sample_does() -> None:
    maps, points = torch.randn(1, 4, 12, 9), torch.rand(3, 5, 2) * 1.2 - 0.1
    wanted = functional.grid_sample(maps.expand(3, -1, -1, -1), points[:, None] * 2 - 1, align_corners=False)[:, :, 0]
    assert torch.allclose(sample_points(maps, points), wanted.transpose(1, 2), atol=1e-5)


def test_the_pyramid_is_upstreams_put_together() -> None:
    width, grid, half = 16, 18, HIDDEN // 2
    fine, middle = nn.ConvTranspose2d(HIDDEN, half, 2, 2), nn.ConvTranspose2d(half, width, 2, 2)
    second = nn.ConvTranspose2d(HIDDEN, half, 2, 2)
    ones = [nn.Conv2d(width, width, 1), nn.Conv2d(half, width, 1), nn.Conv2d(HIDDEN, width, 1)]
    threes = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
    layers = {"0.dconv_2x2_0": fine, "0.dconv_2x2_1": middle, "1.dconv_2x2": second}
    layers |= {f"{i}.conv_1x1": one for i, one in enumerate(ones)} | {f"{i}.conv_3x3": t for i, t in enumerate(threes)}
    entries = Entries({f"convs.{n}.{k}": v for n, layer in layers.items() for k, v in layer.state_dict().items()})
    pyramid = Pyramid(width, grid)
    pyramid.load_state_dict(pyramid_state(entries, "convs.", width), strict=True)
    assert not entries.unused()
    x = torch.randn(1, HIDDEN, 8, 8)
    with torch.no_grad():
        large = functional.interpolate(x, size=(grid, grid), mode="bilinear", align_corners=False)
        wanted = (
            threes[2](ones[2](large)),
            threes[1](ones[1](second(large))),
            threes[0](ones[0](middle(functional.gelu(fine(large))))),
        )
        for ours, theirs in zip(pyramid(x), wanted, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.std()))


def test_a_weight_of_another_shape_is_an_error_that_names_it() -> None:
    entries = Entries({"convs.0.dconv_2x2_1.weight": torch.zeros(3, 4, 2, 2)})
    with pytest.raises(CheckpointError, match=r"convs\.0\.dconv_2x2_1\.weight has the shape \[3, 4, 2, 2\]"):
        pyramid_state(entries, "convs.", 16)


def test_positions_are_counted_from_one_and_y_comes_first() -> None:
    table = sine_map(3, 5, 16)
    assert table.shape == (15, 16)
    y, x = 2 / 3 * 2 * math.pi, 4 / 5 * 2 * math.pi  # second row, fourth column
    assert table[8, 0].item() == pytest.approx(math.sin(y), abs=1e-5)
    assert table[8, 1].item() == pytest.approx(math.cos(y), abs=1e-5)
    assert table[8, 8].item() == pytest.approx(math.sin(x), abs=1e-5)


def test_mapping_queries_back_equals_mapping_every_pixel() -> None:
    head = Sam3MaskHead(8)
    queries, pixels = torch.randn(2, 5, 8), torch.randn(2, 8, 6, 7)
    mapped = torch.einsum("cdyx,ed->ceyx", pixels, head.pixel.weight) + head.pixel.bias[:, None, None]
    wanted = torch.einsum("cke,ceyx->ckyx", head.query(queries), mapped)
    assert torch.allclose(head(queries, torch.rand(2, 5, 4), list(pixels.split(4, 2))), wanted, atol=1e-5)


def test_long_attention_in_torch_equals_attention_written_out() -> None:
    attention = Attention(8, 2)
    x = torch.randn(1, math.isqrt(LONG), 8)
    with torch.no_grad():
        rows = torch.cat([attention(part, x, x) for part in x.split(512, 1)], 1)
        assert torch.allclose(attention(x, x, x), rows, atol=1e-5)


def test_one_frame_for_all_concepts_gives_what_a_frame_for_each_gives() -> None:
    layer = FusionLayer(16, 2, 32)
    tokens, position, prompt, bias = torch.randn(1, 9, 16), torch.randn(9, 16), torch.randn(3, 4, 16), torch.zeros(())
    assert torch.allclose(
        layer(tokens, position, prompt, bias), layer(tokens.expand(3, -1, -1), position, prompt, bias), atol=1e-6
    )


def test_padded_exemplars_change_nothing() -> None:
    encoder = GeometryEncoder(16, 2, 32)
    p16, boxes = torch.randn(1, 16, 12, 12), torch.rand(1, 2, 4) * 0.3 + 0.2
    alone, pad = encoder(p16, boxes, torch.tensor([[1, 0]]))
    assert alone.shape == (1, 3, 16) and not pad.any()
    padded, pad = encoder(p16, torch.cat([boxes, torch.rand(1, 3, 4)], 1), torch.tensor([[1, 0, -1, -1, -1]]))
    assert torch.allclose(padded[:, [0, 1, 5]], alone, atol=1e-5)
    assert pad.tolist() == [[False, False, True, True, True, False]]


def test_labels_points_and_boxes_each_count() -> None:
    encoder = GeometryEncoder(16, 2, 32)
    p16, places = torch.randn(1, 16, 12, 12), torch.rand(1, 1, 4) * 0.3 + 0.2
    yes, no = torch.ones(1, 1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long)
    answers = [
        encoder(p16)[0],
        encoder(p16, places, yes)[0],
        encoder(p16, places, no)[0],
        encoder(p16, None, None, places[..., :2], yes)[0],
        encoder(p16, None, None, places[..., :2], no)[0],
    ]
    summaries = torch.stack([answer[0, -1] for answer in answers])
    assert torch.pdist(summaries).min() > 1e-3


def test_a_concept_without_exemplars_is_all_padding() -> None:
    encoder = GeometryEncoder(16, 2, 32)
    labels = torch.tensor([[1, -1], [-1, -1]])
    tokens, pad = encoder(torch.randn(1, 16, 12, 12), torch.rand(2, 2, 4), labels)
    assert pad.tolist() == [[False, True, False], [True, True, True]]
    assert tokens.isfinite().all()
