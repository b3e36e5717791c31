# SPDX-License-Identifier: Apache-2.0
"""Every block of the student: its shapes, and what it promises."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from esam3_core.nn.align import Alignment
from esam3_core.nn.decoder import BoxBias, Decoder
from esam3_core.nn.fusion import FusionEncoder
from esam3_core.nn.layers import MLP, Attention, grid_centres, inverse_sigmoid, pad_bias, sine_embedding
from esam3_core.nn.masks import MaskHead, PixelEmbedding, outside
from esam3_core.nn.neck import FPN
from esam3_core.nn.proposals import ANCHOR_SIZE, Proposals
from esam3_core.nn.scoring import PromptScore

WIDTH, HEADS, FFN = 32, 4, 64
CONCEPTS, LENGTH, QUERIES = 3, 6, 5
GRID = (4, 6)
TOKENS = GRID[0] * GRID[1]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture()
def prompt() -> Tensor:
    return torch.randn(CONCEPTS, LENGTH, WIDTH)


@pytest.fixture()
def pad() -> Tensor:
    return torch.tensor([[False] * LENGTH, [False] * 4 + [True] * 2, [False] + [True] * 5])


@pytest.fixture()
def tokens() -> Tensor:
    return torch.randn(CONCEPTS, TOKENS, WIDTH)


def test_mlp_goes_through_its_widths() -> None:
    assert MLP(3, 7, 5)(torch.randn(2, 3)).shape == (2, 5)


def test_attention_equals_torchs_own() -> None:
    ours = Attention(WIDTH, HEADS)
    theirs = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    parts = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        theirs.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    query, key, value = torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH), torch.randn(2, 7, WIDTH)
    pad = torch.tensor([[False] * 7, [False] * 4 + [True] * 3])
    expected = theirs(query, key, value, key_padding_mask=pad)[0]
    torch.testing.assert_close(ours(query, key, value, pad_bias(pad)), expected, atol=1e-5, rtol=1e-5)


def test_grid_centres_run_row_by_row() -> None:
    centres = grid_centres(2, 4)
    assert centres.tolist()[:2] == [[0.125, 0.25], [0.375, 0.25]]
    assert centres.tolist()[4] == [0.125, 0.75]


def test_sine_embedding_tells_numbers_apart() -> None:
    values = torch.linspace(0, 1, 50)[:, None]
    embedding = sine_embedding(values, 16)
    assert embedding.shape == (50, 16)
    distance = torch.cdist(embedding, embedding) + torch.eye(50) * 9
    assert distance.min() > 1e-2
    torch.testing.assert_close(embedding[:, 0], (2 * math.pi * values[:, 0]).sin())


def test_inverse_sigmoid_inverts_and_stays_finite() -> None:
    x = torch.linspace(0.01, 0.99, 20)
    torch.testing.assert_close(inverse_sigmoid(x).sigmoid(), x)
    assert torch.isfinite(inverse_sigmoid(torch.tensor([0.0, 1.0]))).all()


def test_neck_gives_three_strides() -> None:
    channels = [8, 16, 24, 32]
    maps = [torch.randn(2, c, 96 // s, 64 // s) for c, s in zip(channels, (4, 8, 16, 32), strict=True)]
    p16, p8, p4 = FPN(channels, WIDTH, HEADS, FFN)(maps)
    assert p16.shape == (2, WIDTH, 6, 4)
    assert p8.shape == (2, WIDTH // 4, 12, 8)
    assert p4.shape == (2, WIDTH // 8, 24, 16)


def test_alignment_of_all_pairs_agrees_with_one_by_one(tokens: Tensor, prompt: Tensor) -> None:
    align = Alignment(WIDTH)
    every = align.logits(tokens[:1], prompt[:, 0])
    paired = align.paired(tokens[:1], prompt[:, 0])
    assert every.shape == (1, TOKENS, CONCEPTS) and paired.shape == (CONCEPTS, TOKENS)
    torch.testing.assert_close(every[0].t(), paired)
    assert align.write(tokens, paired).shape == tokens.shape


def test_fusion_keeps_the_shape_and_ignores_pads(tokens: Tensor, prompt: Tensor, pad: Tensor) -> None:
    fusion = FusionEncoder(2, WIDTH, HEADS, FFN).eval()
    position = torch.randn(TOKENS, WIDTH)
    fused = fusion(tokens, position, prompt, pad_bias(pad))
    assert fused.shape == tokens.shape
    noise = torch.where(pad[..., None], torch.randn_like(prompt) * 9, prompt)
    torch.testing.assert_close(fusion(tokens, position, noise, pad_bias(pad)), fused, atol=1e-5, rtol=1e-5)


def test_scoring_ignores_pads_and_stays_within_twelve(tokens: Tensor, prompt: Tensor, pad: Tensor) -> None:
    score = PromptScore(WIDTH, FFN)
    noise = torch.where(pad[..., None], torch.full_like(prompt, 50.0), prompt)
    summary = score.summary(prompt, pad)
    torch.testing.assert_close(score.summary(noise, pad), summary)
    logits = score(tokens * 1000, summary)
    assert logits.shape == (CONCEPTS, TOKENS)
    assert logits.abs().max() <= 12


def test_proposals_are_the_best_tokens(tokens: Tensor, prompt: Tensor, pad: Tensor) -> None:
    proposals = Proposals(QUERIES, WIDTH, FFN)
    logits, boxes = proposals.dense(tokens, GRID, prompt, pad)
    assert logits.shape == (CONCEPTS, TOKENS) and boxes.shape == (CONCEPTS, TOKENS, 4)
    assert boxes.min() >= 0 and boxes.max() <= 1
    match = torch.randn(CONCEPTS, TOKENS)
    queries, references, evidence = proposals(tokens, logits, boxes, match, GRID)
    assert queries.shape == (CONCEPTS, QUERIES, WIDTH)
    best = logits.argmax(1)  # its neighbours are all worse, so no penalty moves it
    torch.testing.assert_close(references[:, 0], boxes[torch.arange(CONCEPTS), best])
    torch.testing.assert_close(evidence[:, 0], (logits + match)[torch.arange(CONCEPTS), best])
    assert not references.requires_grad and not evidence.requires_grad


def test_an_untrained_token_draws_a_small_box_at_its_place(tokens: Tensor, prompt: Tensor, pad: Tensor) -> None:
    proposals = Proposals(QUERIES, WIDTH, FFN)
    torch.nn.init.zeros_(proposals.box.layers[-1].weight)
    torch.nn.init.zeros_(proposals.box.layers[-1].bias)
    _, boxes = proposals.dense(tokens, GRID, prompt, pad)
    torch.testing.assert_close(boxes[0, :, :2], grid_centres(*GRID))
    torch.testing.assert_close(boxes[..., 2:], torch.full((CONCEPTS, TOKENS, 2), ANCHOR_SIZE))


def test_neighbours_of_a_peak_come_after_other_peaks(tokens: Tensor) -> None:
    """One object must not use up the queries of the others."""
    proposals = Proposals(3, WIDTH, FFN)
    field = torch.full((1, *GRID), -5.0)
    field[0, 1, 1], field[0, 1, 2] = 4.0, 3.5  # an object and its neighbour
    field[0, 3, 4] = 2.5  # another object
    boxes = torch.rand(1, TOKENS, 4)
    _, references, _ = proposals(tokens[:1], field.flatten(1), boxes, torch.zeros(1, TOKENS), GRID)
    assert references[0].tolist() == boxes[0, [7, 22, 8]].tolist()


def test_more_queries_than_tokens_are_all_tokens(tokens: Tensor) -> None:
    proposals = Proposals(100, WIDTH, FFN)
    logits = torch.randn(CONCEPTS, TOKENS)
    queries, _, _ = proposals(tokens, logits, torch.rand(CONCEPTS, TOKENS, 4), logits, GRID)
    assert queries.shape[1] == TOKENS


def test_decoder_answers_at_every_layer(tokens: Tensor, prompt: Tensor, pad: Tensor) -> None:
    decoder = Decoder(2, WIDTH, HEADS, FFN)
    queries, references = torch.randn(CONCEPTS, QUERIES, WIDTH), torch.rand(CONCEPTS, QUERIES, 4)
    position = sine_embedding(grid_centres(*GRID), WIDTH // 2)
    evidence = torch.randn(CONCEPTS, QUERIES)
    out = decoder(queries, references, evidence, prompt, pad, pad_bias(pad), tokens, position, GRID)
    assert [x.shape for x in out.queries] == [(CONCEPTS, QUERIES, WIDTH)] * 2
    assert [x.shape for x in out.logits] == [(CONCEPTS, QUERIES)] * 2
    assert [x.shape for x in out.boxes] == [(CONCEPTS, QUERIES, 4)] * 2
    assert [x.shape for x in out.presence] == [(CONCEPTS,)] * 2
    assert out.boxes[-1].min() >= 0 and out.boxes[-1].max() <= 1


def test_the_decoder_corrects_the_evidence_of_the_proposals(tokens: Tensor, prompt: Tensor, pad: Tensor) -> None:
    decoder = Decoder(1, WIDTH, HEADS, FFN)
    queries, references = torch.randn(CONCEPTS, QUERIES, WIDTH), torch.rand(CONCEPTS, QUERIES, 4)
    position = sine_embedding(grid_centres(*GRID), WIDTH // 2)
    rest = (prompt, pad, pad_bias(pad), tokens, position, GRID)
    none = decoder(queries, references, torch.zeros(CONCEPTS, QUERIES), *rest)
    some = decoder(queries, references, torch.full((CONCEPTS, QUERIES), 2.0), *rest)
    torch.testing.assert_close(some.logits[-1], none.logits[-1] + 2.0)
    torch.testing.assert_close(some.presence[-1], none.presence[-1] + 2.0)


def test_box_bias_depends_on_where_a_cell_lies() -> None:
    bias = BoxBias(HEADS, 16)
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]]])
    values = bias(boxes, GRID)
    assert values.shape == (1, HEADS, 3, TOKENS)
    assert not values[:, :, 0].any()  # the presence token has no box
    grid = values[:, :, 1:].reshape(HEADS, 2, *GRID)
    # The bias is a sum over axes: one row differs from the next by the same in every column.
    torch.testing.assert_close(
        grid[:, :, 1] - grid[:, :, 0], (grid[:, :, 1] - grid[:, :, 0])[..., :1].expand(-1, -1, 6)
    )
    assert not torch.allclose(grid[:, 0], grid[:, 1])


def test_pixels_and_masks_have_stride_four() -> None:
    fused = torch.randn(CONCEPTS, WIDTH, *GRID)
    p8, p4 = torch.randn(1, WIDTH // 4, 8, 12), torch.randn(1, WIDTH // 8, 16, 24)
    pixels = PixelEmbedding(WIDTH, 8)(fused, p8, p4)
    assert pixels.shape[0] == CONCEPTS and pixels.shape[2:] == (16, 24)
    masks = MaskHead(WIDTH, 8)(torch.randn(CONCEPTS, 2, WIDTH), torch.rand(CONCEPTS, 2, 4), pixels)
    assert masks.shape == (CONCEPTS, 2, 16, 24)


def test_a_mask_ends_at_its_box() -> None:
    loss = outside(torch.tensor([[[0.5, 0.5, 0.25, 0.5]]]), 16, 16)[0, 0]
    assert loss[4:12, 6:10].abs().max() == 0  # the box and a tenth beyond
    assert loss[8, 0] > 10 and loss[0, 8] > 3
    assert (loss.diff(dim=1)[8, 8:] >= 0).all()
