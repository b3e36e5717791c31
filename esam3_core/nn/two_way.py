# SPDX-License-Identifier: Apache-2.0
"""Two-way transformer of the SAM heads: tokens look at the image, the image looks back (SAM, appendix A)."""

from __future__ import annotations

from torch import Tensor, nn

from esam3_core.nn.layers import MLP


class NarrowAttention(nn.Module):
    """Attention with several heads in fewer channels than its inputs have."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (inner // heads) ** -0.5
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """Query [B, Nq, d], key and value [B, Nk, d], bias that broadcasts to [B, heads, Nq, Nk] -> [B, Nq, d]."""
        q = self._split(self.query(query) * self.scale)  # [B, heads, Nq, inner / heads]
        logits = q @ self._split(self.key(key)).transpose(-2, -1)
        if bias is not None:
            logits = logits + bias
        weights = logits.float().softmax(-1).to(query.dtype)
        return self.out((weights @ self._split(self.value(value))).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        batch, length, inner = x.shape
        return x.reshape(batch, length, self.heads, inner // self.heads).transpose(1, 2)


class TwoWayLayer(nn.Module):
    """Post-norm layer: tokens among themselves, tokens to image, feed-forward, image to tokens."""

    def __init__(self, width: int, heads: int, ffn: int, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attention = NarrowAttention(width, width, heads)
        self.norm1 = nn.LayerNorm(width)
        self.to_image = NarrowAttention(width, width // 2, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, ffn, width)
        self.norm3 = nn.LayerNorm(width)
        self.to_tokens = NarrowAttention(width, width // 2, heads)
        self.norm4 = nn.LayerNorm(width)

    def forward(
        self, tokens: Tensor, start: Tensor, image: Tensor, places: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.first:  # the tokens are their own places still
            tokens = self.self_attention(tokens, tokens, tokens, bias)
        else:
            q = tokens + start
            tokens = tokens + self.self_attention(q, q, tokens, bias)
        tokens = self.norm1(tokens)
        key = image + places
        tokens = self.norm2(tokens + self.to_image(tokens + start, key, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.to_tokens(key, tokens + start, tokens, bias))
        return tokens, image


class TwoWay(nn.Module):
    """A stack of two-way layers and a last look at the image."""

    def __init__(self, layers: int, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(width, heads, ffn, i == 0) for i in range(layers))
        self.to_image = NarrowAttention(width, width // 2, heads)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, image: Tensor, places: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [T, n, d], image [T, N, d], places [N, d], bias [T, 1, 1, n] of unseen tokens -> both, same shapes."""
        start = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, start, image, places, bias)
        tokens = self.norm(tokens + self.to_image(tokens + start, image + places, image))
        return tokens, image
