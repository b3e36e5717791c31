# SPDX-License-Identifier: Apache-2.0
"""The text encoder: a small transformer from word pieces to prompt tokens, distilled from a sentence embedding."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.config import TextConfig
from esam3_core.nn.layers import Attention, pad_bias

PAD = 0  # token id
WEIGHTS = "text.safetensors"
PROJECTOR = "project."


def pad_mask(tokens: Tensor) -> Tensor:
    """Which tokens are padding: ids [C, L] -> bool [C, L], True = pad."""
    return tokens == PAD


class TextBlock(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm_ffn = nn.LayerNorm(width)
        self.expand = nn.Linear(width, ffn)
        self.shrink = nn.Linear(ffn, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """Tokens [C, L, width], attention bias that broadcasts to [C, heads, L, L] -> [C, L, width]."""
        y = self.norm_attention(x)
        x = x + self.attention(y, y, y, bias)
        return x + self.shrink(functional.gelu(self.expand(self.norm_ffn(x))))


class TextEncoder(nn.Module):
    """Token ids -> prompt tokens of the detector, and a sentence embedding.

    Args:
        config: sizes of this encoder.
        width: channels d of the prompt tokens.
    """

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.width)
        self.position = nn.Parameter(torch.randn(config.context, config.width) * 0.02)
        self.blocks = nn.ModuleList(
            TextBlock(config.width, config.heads, config.ffn) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.sentence = nn.Linear(config.width, config.embedding)
        self.project = nn.Linear(config.width, width)

    def encode(self, tokens: Tensor) -> Tensor:
        """Token ids int64 [C, L] (L <= context) -> hidden tokens [C, L, config.width].

        Position 0 (the start token) holds the summary of the phrase: its own state plus the mean over all tokens.
        """
        pad = pad_mask(tokens)
        bias = pad_bias(pad)
        x = self.token(tokens) + self.position[: tokens.shape[1]]  # [C, L, width]
        for block in self.blocks:
            x = block(x, bias)
        real = (~pad).float()[..., None]  # [C, L, 1]
        mean = (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1.0)
        return self.norm(torch.cat([x[:, :1] + mean, x[:, 1:]], 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids int64 [C, L] -> prompt tokens [C, L, d]; those of pads mean nothing."""
        return self.project(self.encode(tokens))

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids int64 [C, L] -> unit-norm sentence embeddings [C, config.embedding], near the text teacher's."""
        return functional.normalize(self.sentence(self.encode(tokens)[:, 0]), dim=-1)


def save_text_encoder(encoder: nn.Module, folder: Path) -> Path:
    """Write the weights, without the projector (which belongs to the detector), to folder/text.safetensors."""
    path = folder / WEIGHTS
    state = {k: v.contiguous() for k, v in encoder.state_dict().items() if not k.startswith(PROJECTOR)}
    save_file(state, str(path))
    return path


def _new_encoder(config: TextConfig, width: int) -> nn.Module:
    if config.kind == "sentence":
        return TextEncoder(config, width)
    from esam3_core.nn.clip_text import ClipTextEncoder  # which is built of the blocks above

    return ClipTextEncoder(config, width)


def load_text_encoder(folder: str | Path, config: TextConfig, width: int) -> nn.Module:
    """A distilled text encoder with a fresh projector to `width` channels.

    Args:
        folder: output folder of `python -m esam3_core.distill.text.train`, or `text` in the folder of a run of stage 1.

    Raises:
        FileNotFoundError: if the folder has no text.safetensors.
        ValueError: if the weights do not fit the config.
    """
    path = Path(folder) / WEIGHTS
    if not path.exists():
        raise FileNotFoundError(
            f"no {WEIGHTS} in {folder}: make it with `python -m esam3_core.distill.text.train --out {folder}`"
        )
    encoder = _new_encoder(config, width)
    own = {k: v.shape for k, v in encoder.state_dict().items() if not k.startswith(PROJECTOR)}
    state = load_file(str(path))
    wrong = sorted(k for k in own.keys() | state.keys() if k not in state or own.get(k) != state[k].shape)
    if wrong:
        raise ValueError(
            f"{path} does not fit this TextConfig ({', '.join(wrong[:3])}): "
            "train it again or use the config it was trained with"
        )
    encoder.load_state_dict(state, strict=False)
    return encoder
