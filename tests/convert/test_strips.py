# SPDX-License-Identifier: Apache-2.0
"""What a graph computes strip by strip, or head by head, is what torch computes at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from esam3_core.nn import decoder, strips
from esam3_core.nn.decoder import Decoder
from esam3_core.nn.layers import pad_bias
from esam3_core.nn.sam3_masks import Sam3MaskHead, Sam3Pixels
from esam3_core.nn.sam3_neck import HIDDEN, Pyramid

WIDTH, HEADS, GRID, CONCEPTS = 16, 2, 6, 2


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, code runs as in a graph, where everything counts as large."""

    def begin() -> None:
        monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
        monkeypatch.setattr(strips, "STRIP", 10 * WIDTH * 4 * GRID)  # 24 rows are 10, 10 and 4
        monkeypatch.setattr(decoder, "LONG", 1)

    torch.manual_seed(0)
    return begin


def shaken(module: nn.Module) -> nn.Module:
    """With weights of which none is zero or one."""
    for weight in module.parameters():
        weight.data += 0.2 * torch.randn_like(weight)
    return module.eval().requires_grad_(False)


def test_the_finest_map_of_the_neck(in_parts: Callable[[], None]) -> None:
    neck = shaken(Pyramid(WIDTH, GRID))
    projected = torch.randn(1, HIDDEN, 3, 3)
    whole = neck(projected)
    in_parts()
    for ours, wanted in zip(neck(projected), whole, strict=True):
        assert torch.allclose(ours, wanted, atol=1e-4)


def test_the_pixels_of_several_concepts_and_their_masks(in_parts: Callable[[], None]) -> None:
    head, masks = shaken(Sam3Pixels(WIDTH, HEADS)), shaken(Sam3MaskHead(WIDTH))
    tokens, prompt = torch.randn(CONCEPTS, GRID * GRID, WIDTH), torch.randn(CONCEPTS, 3, WIDTH)
    p8, p4 = torch.randn(1, WIDTH, 2 * GRID, 2 * GRID), torch.randn(1, WIDTH, 4 * GRID, 4 * GRID)
    queries, places = torch.randn(CONCEPTS, 5, WIDTH), torch.rand(CONCEPTS, 5, 4)

    def drawn() -> tuple[list[Tensor], Tensor]:
        pixels = head(tokens, prompt, torch.zeros(()), p8, p4)
        return pixels, masks(queries, places, pixels)

    (whole,), wanted = drawn()
    in_parts()
    pixels, found = drawn()
    assert [part.shape[2] for part in pixels] == [10, 10, 4]
    assert torch.allclose(torch.cat(pixels, 2), whole, atol=1e-5)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_the_decoders_look_at_the_image(in_parts: Callable[[], None]) -> None:
    model = shaken(Decoder(2, WIDTH, HEADS, 32))
    queries, references = torch.randn(CONCEPTS, 4, WIDTH), torch.rand(CONCEPTS, 4, 4)
    prompt, pad = torch.randn(CONCEPTS, 3, WIDTH), torch.tensor([[False, False, True]] * CONCEPTS)
    grid, cells = (GRID, GRID + 1), GRID * (GRID + 1)
    image, position = torch.randn(CONCEPTS, cells, WIDTH), torch.randn(cells, WIDTH)
    given = (queries, references, torch.zeros(CONCEPTS, 4), prompt, pad, pad_bias(pad), image, position, grid)
    whole = model(*given)
    in_parts()
    parts = model(*given)
    assert torch.allclose(parts.boxes[-1], whole.boxes[-1], atol=1e-5)
    assert torch.allclose(parts.queries[-1], whole.queries[-1], atol=1e-5)
