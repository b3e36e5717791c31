# SPDX-License-Identifier: Apache-2.0
"""The text encoder: shapes, padding, determinism of a phrase in a batch, export, loading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from esam3_core.config import TextConfig
from esam3_core.nn.text import TextEncoder, load_text_encoder, pad_mask, save_text_encoder

CONFIG = TextConfig(vocab_size=50, context=8, width=32, layers=2, heads=4, ffn=64, embedding=24)
TOKENS = torch.tensor([[2, 7, 3, 0, 0, 0, 0, 0], [2, 7, 9, 12, 4, 4, 30, 3], [2, 3, 0, 0, 0, 0, 0, 0]])


@pytest.fixture()
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(CONFIG, width=40).eval()


def test_pads_are_zeros() -> None:
    assert pad_mask(TOKENS)[0].tolist() == [False] * 3 + [True] * 5


def test_prompt_and_embedding_have_the_promised_shapes(encoder: TextEncoder) -> None:
    assert encoder(TOKENS).shape == (3, 8, 40)
    embedding = encoder.embed(TOKENS)
    assert embedding.shape == (3, 24)
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(3))


def test_pads_and_neighbours_change_nothing(encoder: TextEncoder) -> None:
    alone = encoder(TOKENS[:1, :3])
    torch.testing.assert_close(encoder(TOKENS)[:1, :3], alone, atol=1e-5, rtol=1e-5)


def test_every_token_reaches_the_summary(encoder: TextEncoder) -> None:
    for position in range(1, 8):
        changed = TOKENS[1:2].clone()
        changed[0, position] = 20
        assert (encoder(changed)[0, 0] - encoder(TOKENS[1:2])[0, 0]).abs().max() > 1e-4


def test_word_order_counts(encoder: TextEncoder) -> None:
    swapped = TOKENS[1:2][:, [0, 2, 1, 3, 4, 5, 6, 7]]
    assert (encoder.embed(swapped) - encoder.embed(TOKENS[1:2])).abs().max() > 1e-4


def test_a_row_of_pads_only_stays_finite(encoder: TextEncoder) -> None:
    assert torch.isfinite(encoder(torch.zeros(1, 8, dtype=torch.long))).all()


def test_default_config_is_small() -> None:
    assert sum(p.numel() for p in TextEncoder(TextConfig(), 128).parameters()) <= 1_600_000


def test_onnx_equals_torch_for_any_number_of_concepts(encoder: TextEncoder, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    concepts = torch.export.Dim("concepts", min=1, max=64)
    torch.onnx.export(
        encoder, (TOKENS,), str(path), dynamo=True, opset_version=18, input_names=["tokens"],
        output_names=["prompt"], dynamic_shapes={"tokens": {0: concepts}}, verbose=False,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for rows in (TOKENS[:1], TOKENS, TOKENS.repeat(3, 1)):
        (prompt,) = session.run(["prompt"], {"tokens": rows.numpy()})
        np.testing.assert_allclose(prompt, encoder(rows).detach().numpy(), atol=1e-4)


def test_saved_weights_come_back_under_another_projector(encoder: TextEncoder, tmp_path: Path) -> None:
    save_text_encoder(encoder, tmp_path)
    loaded = load_text_encoder(tmp_path, CONFIG, width=16).eval()
    assert loaded(TOKENS).shape == (3, 8, 16)
    torch.testing.assert_close(loaded.embed(TOKENS), encoder.embed(TOKENS))


def test_missing_weights_name_the_command(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"esam3_core\.distill\.text\.train"):
        load_text_encoder(tmp_path, CONFIG, 16)


def test_weights_of_another_size_are_refused(encoder: TextEncoder, tmp_path: Path) -> None:
    save_text_encoder(encoder, tmp_path)
    with pytest.raises(ValueError, match=r"does not fit this TextConfig .*the config it was trained with"):
        load_text_encoder(tmp_path, TextConfig(), 16)
