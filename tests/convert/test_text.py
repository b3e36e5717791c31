# SPDX-License-Identifier: Apache-2.0
"""Text encoders of official checkpoints: upstream's numbers, torch's own layers, position tables, bad checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from esam3_core.config import TextConfig
from esam3_core.convert.entries import Entries
from esam3_core.convert.text import fit_table, text_config, text_state
from esam3_core.nn.clip_text import ClipTextEncoder
from tests.convert.vectors import VARIANTS, expected, needs_vectors, shapes, tensors

PREFIX = "detector.backbone.language_backbone."
WIDTH, FFN, VOCAB, PROMPT = 128, 96, 50, 24
TOKENS = torch.tensor([[48, 7, 9, 49, 0, 0, 0, 0], [48, 3, 12, 4, 30, 9, 9, 49]])


def load(checkpoint: dict[str, Tensor], prefix: str = PREFIX, width: int = PROMPT, **options) -> ClipTextEncoder:
    """The text encoder of a checkpoint; context and table as options."""
    entries = Entries(checkpoint)
    config = text_config(entries, prefix, options.pop("context", None))
    encoder = ClipTextEncoder(config, width).eval()
    encoder.load_state_dict(text_state(entries, prefix, config, width, **options), strict=True)
    assert not entries.unused()
    return encoder


def draw(module: nn.Module) -> nn.Module:
    """Random weights and statistics everywhere, so that an exchanged entry shows."""
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_floating_point():
            value.data = torch.rand_like(value) + 0.5 if name.endswith("running_var") else torch.randn_like(value) * 0.2
    return module.eval()


def named(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's entries under `prefix`."""
    return {f"{prefix}.{name}": value for name, value in module.state_dict().items()}


def reference_layer() -> nn.Module:
    heads = WIDTH // 64
    return draw(nn.TransformerEncoderLayer(WIDTH, heads, FFN, 0.0, "gelu", batch_first=True, norm_first=True))


class Whole(nn.Module):
    """A text encoder out of torch's own layers, with its entries under official names."""

    def __init__(self, context: int, table: int, causal: bool) -> None:
        super().__init__()
        self.context, self.causal = context, causal
        self.embedding = draw(nn.Embedding(VOCAB, WIDTH))
        self.table = torch.randn(table, WIDTH)
        self.layers = [reference_layer() for _ in range(2)]
        self.norm = draw(nn.LayerNorm(WIDTH))
        self.project = draw(nn.Linear(WIDTH, PROMPT))

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        x = self.embedding(tokens) + (self.table[: self.context] if positions is None else positions)
        mask = nn.Transformer.generate_square_subsequent_mask(self.context) if self.causal else None
        for layer in self.layers:
            x = layer(x, src_mask=mask)
        return self.project(self.norm(x))

    def mobileclip(self) -> dict[str, Tensor]:
        state = {
            f"{PREFIX}encoder.embedding_layer.weight": self.embedding.weight,
            f"{PREFIX}encoder.positional_embedding.pos_embed.pos_embed": self.table[None, None],
            f"{PREFIX}encoder.projection_layer": torch.randn(WIDTH, WIDTH),
            **named(f"{PREFIX}encoder.final_layer_norm", self.norm),
            **named(f"{PREFIX}projector", self.project),
        }
        for index, layer in enumerate(self.layers):
            state |= _rename(f"{PREFIX}encoder.transformer.{index}", layer, MOBILECLIP)
        return state

    def sam3(self) -> dict[str, Tensor]:
        state = {
            f"{PREFIX}encoder.token_embedding.weight": self.embedding.weight,
            f"{PREFIX}encoder.positional_embedding": self.table,
            f"{PREFIX}encoder.text_projection": torch.randn(WIDTH, 512),
            **named(f"{PREFIX}encoder.ln_final", self.norm),
            **named(f"{PREFIX}resizer", self.project),
        }
        for index, layer in enumerate(self.layers):
            state |= _rename(f"{PREFIX}encoder.transformer.resblocks.{index}", layer, SAM3)
        return state


MOBILECLIP = {
    "self_attn.in_proj_": "pre_norm_mha.1.qkv_proj.",
    "self_attn.out_proj": "pre_norm_mha.1.out_proj",
    "norm1": "pre_norm_mha.0",
    "norm2": "pre_norm_ffn.0",
    "linear1": "pre_norm_ffn.1",
    "linear2": "pre_norm_ffn.4",
}
SAM3 = {"self_attn": "attn", "norm1": "ln_1", "norm2": "ln_2", "linear1": "mlp.c_fc", "linear2": "mlp.c_proj"}


def _rename(prefix: str, layer: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    state = {}
    for name, value in layer.state_dict().items():
        for ours, theirs in names.items():
            name = name.replace(ours, theirs)
        state[f"{prefix}.{name}"] = value
    return state


@needs_vectors
def test_mobileclip_s0_gives_upstreams_numbers() -> None:
    variant = VARIANTS[0]
    own = {name: shape for name, shape in shapes(variant).items() if name.startswith(PREFIX)}
    wanted = [expected(variant, part) for part in ("text0", "text1")]
    encoder = load(tensors(own), width=256)
    with torch.no_grad():
        tokens = encoder(torch.from_numpy(np.stack([part["tokens"] for part in wanted]).astype(np.int64)))
    for row, part in zip(tokens.numpy(), wanted, strict=True):
        np.testing.assert_allclose(row, part["text_features"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("causal", [False, True], ids=["mobileclip", "sam3"])
def test_the_transformer_is_torchs_own(causal: bool) -> None:
    torch.manual_seed(0)
    whole = Whole(context=8, table=8, causal=causal)
    encoder = load(whole.sam3() if causal else whole.mobileclip())
    with torch.no_grad():
        torch.testing.assert_close(encoder(TOKENS), whole(TOKENS), atol=1e-5, rtol=1e-4)


def test_a_mixer_is_its_batch_norms_convolutions_and_scales() -> None:
    torch.manual_seed(1)
    whole = Whole(context=8, table=8, causal=False)
    first, last = _RepMixer(), _RepMixer()
    checkpoint = {
        name.replace("transformer.1.", "transformer.2.").replace("transformer.0.", "transformer.1."): value
        for name, value in whole.mobileclip().items()
    }
    checkpoint |= named(f"{PREFIX}encoder.transformer.0", first) | named(f"{PREFIX}encoder.transformer.3", last)
    encoder = load(checkpoint)
    with torch.no_grad():
        x = first(whole.embedding(TOKENS) + whole.table)
        for layer in whole.layers:
            x = layer(x)
        torch.testing.assert_close(encoder(TOKENS), whole.project(whole.norm(last(x))), atol=1e-5, rtol=1e-4)


class _RepMixer(nn.Module):
    """The layer before folding, under upstream's names."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.randn(WIDTH, 1, 1))
        self.token_mixer = nn.Module()
        self.token_mixer.layer_scale = nn.Parameter(torch.randn(WIDTH, 1, 1))
        self.token_mixer.norm = nn.ModuleDict({"rbr_skip": nn.BatchNorm2d(WIDTH)})
        self.token_mixer.mixer = nn.ModuleDict({
            "rbr_skip": nn.BatchNorm2d(WIDTH), "rbr_conv": nn.ModuleList([_along_the_phrase()])
        })  # fmt: skip
        self.convffn = nn.ModuleDict({
            "conv": _along_the_phrase(), "fc1": nn.Conv2d(WIDTH, FFN, 1), "fc2": nn.Conv2d(FFN, WIDTH, 1)
        })  # fmt: skip
        draw(self)

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)[:, :, None]  # [C, width, 1, L]
        mixer, norm = self.token_mixer.mixer, self.token_mixer.norm
        conv = self.convffn
        mixed = mixer["rbr_skip"](x) + _run(mixer["rbr_conv"][0], x) - norm["rbr_skip"](x)
        x = x + self.token_mixer.layer_scale * mixed
        x = x + self.layer_scale * conv["fc2"](functional.gelu(conv["fc1"](_run(conv["conv"], x))))
        return x[:, :, 0].transpose(1, 2)


def _along_the_phrase() -> nn.ModuleDict:
    conv = nn.Conv2d(WIDTH, WIDTH, (1, 11), padding=(0, 5), groups=WIDTH, bias=False)
    return nn.ModuleDict({"conv": conv, "bn": nn.BatchNorm2d(WIDTH)})


def _run(block: nn.ModuleDict, x: Tensor) -> Tensor:
    return block["bn"](block["conv"](x))


@pytest.mark.parametrize(("table", "context"), [(77, 16), (77, 32), (32, 16), (16, 16)])
def test_a_longer_table_is_cut_to_the_context(table: int, context: int) -> None:
    positions = torch.randn(table, 6)
    torch.testing.assert_close(fit_table(positions, context, "cut"), positions[:context])


def test_the_first_text_students_squeeze_their_table() -> None:
    torch.manual_seed(2)
    whole = Whole(context=8, table=20, causal=False)
    encoder = load(whole.mobileclip(), context=8, table="interpolate")
    squeezed = functional.interpolate(whole.table[None, None], size=(8, WIDTH), mode="bilinear")[0, 0]
    assert (squeezed - whole.table[:8]).abs().max() > 0.1
    with torch.no_grad():
        torch.testing.assert_close(encoder(TOKENS), whole(TOKENS, squeezed), atol=1e-5, rtol=1e-4)


def test_a_context_beyond_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="positions for 16 tokens: 32 are too many"):
        fit_table(torch.zeros(16, 4), 32, "cut")


def test_pads_change_the_answer_as_they_do_upstream() -> None:
    torch.manual_seed(3)
    encoder = load(Whole(context=8, table=8, causal=False).mobileclip())
    other = TOKENS.clone()
    other[0, 6] = 5
    with torch.no_grad():
        assert (encoder(TOKENS)[0, 0] - encoder(other)[0, 0]).abs().max() > 1e-4


def test_sizes_are_read_from_the_shapes() -> None:
    whole = Whole(context=8, table=12, causal=False)
    sizes = {"kind": "clip", "vocab_size": VOCAB, "width": WIDTH, "layers": 2, "heads": 2, "ffn": FFN}
    assert text_config(Entries(whole.mobileclip()), PREFIX, 8) == TextConfig(context=8, **sizes)
    assert text_config(Entries(whole.sam3()), PREFIX) == TextConfig(context=12, causal=True, **sizes)


def test_a_missing_entry_an_unknown_one_and_a_wrong_shape_are_errors() -> None:
    whole = Whole(context=8, table=8, causal=False).mobileclip()
    name = f"{PREFIX}encoder.transformer.1.pre_norm_ffn.4.bias"
    with pytest.raises(ValueError, match=r"lacks .*transformer\.1\.pre_norm_ffn\.4\.bias"):
        load({other: value for other, value in whole.items() if other != name})
    with pytest.raises(ValueError, match=r"pre_norm_ffn\.4\.bias has the shape \[3\] where \[128\] is needed"):
        load({**whole, name: torch.zeros(3)})
    with pytest.raises(ValueError, match=r"no layer of ours needs.*surprise"):
        load({**whole, f"{PREFIX}encoder.surprise": torch.zeros(3)})


def test_without_a_text_encoder_the_message_says_what_to_give() -> None:
    with pytest.raises(ValueError, match="give a merged checkpoint"):
        text_config(Entries({}), PREFIX)


def test_what_is_not_needed_is_named_with_its_reason() -> None:
    entries = Entries(Whole(context=8, table=8, causal=False).mobileclip())
    text_state(entries, PREFIX, text_config(entries, PREFIX), PROMPT)
    assert list(entries.skipped) == [f"{PREFIX}encoder.projection_layer"]
