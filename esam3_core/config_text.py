# SPDX-License-Identifier: Apache-2.0
"""Every size of a text encoder."""

from __future__ import annotations

from dataclasses import dataclass

from esam3_core.config_checks import check_least


@dataclass(frozen=True)
class TextConfig:
    """Text encoder: a transformer over BPE tokens."""

    kind: str = "sentence"  # sentence: ours, distilled from sentence embeddings; clip: MobileCLIP's and SAM 3's
    vocab_size: int = 8192
    context: int = 16  # tokens, start and end included
    width: int = 128  # channels
    layers: int = 3
    heads: int = 4
    ffn: int = 256  # channels of the feed-forward blocks
    embedding: int = 384  # sentence: channels of the sentence embedding that the text teacher gives
    mixers: bool = False  # clip: convolutions along the phrase before and after the transformer (MobileCLIP-S0)
    causal: bool = False  # clip: a token sees only those before it (SAM 3)

    def __post_init__(self) -> None:
        if self.kind not in ("sentence", "clip"):
            raise ValueError(f"unknown text encoder {self.kind!r}: choose sentence or clip")
        check_least(self, 1, "vocab_size", "context", "width", "layers", "heads", "ffn", "embedding")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads ({self.heads})")
