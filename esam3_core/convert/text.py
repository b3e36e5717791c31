# SPDX-License-Identifier: Apache-2.0
"""Text encoders of official checkpoints: their sizes read from the shapes, their weights in our names."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from esam3_core.config import TextConfig
from esam3_core.convert.entries import Entries
from esam3_core.nn.clip_text import KERNEL
from esam3_core.runtime.errors import CheckpointError

HEAD = 64  # channels of an attention head, in every text encoder of the family
BATCH_NORM_EPS = 1e-5  # torch's default
TABLES = ("cut", "interpolate")
"""What a context shorter than the position table does with it: read its start, or squeeze it."""

State = dict[str, Tensor]


def text_config(entries: Entries, prefix: str, context: int | None = None) -> TextConfig:
    """The sizes of the text encoder whose entries start with `prefix` ("detector.backbone.language_backbone.").

    Args:
        context: tokens of a prompt; None = the length of the checkpoint's position table.

    Raises:
        CheckpointError: there is no text encoder of a kind that we know.
    """
    if f"{prefix}encoder.embedding_layer.weight" in entries:
        return _mobileclip_config(entries, f"{prefix}encoder.", context)
    if f"{prefix}encoder.token_embedding.weight" in entries:
        return _sam3_config(entries, f"{prefix}encoder.", context)
    raise CheckpointError(
        f"no text encoder under {prefix or 'the top level'}: neither encoder.embedding_layer.weight (MobileCLIP) nor "
        "encoder.token_embedding.weight (SAM 3) is there; give a merged checkpoint, with image and text encoder"
    )


def text_state(entries: Entries, prefix: str, config: TextConfig, width: int, table: str = "cut") -> State:
    """The weights of a `ClipTextEncoder`; every entry under `prefix` is taken or skipped with a reason.

    Args:
        width: channels d of the prompt tokens.
        table: one of TABLES.

    Raises:
        CheckpointError: an entry is missing or has another shape, the context does not suit the position table.
    """
    if f"{prefix}encoder.embedding_layer.weight" in entries:
        state = _mobileclip_state(entries, prefix, config, width, table)
    else:
        state = _sam3_state(entries, prefix, config, width, table)
    unknown = entries.unused(prefix)
    if unknown:
        raise CheckpointError(f"the text encoder has entries that no layer of ours needs: {', '.join(unknown[:5])}")
    return state


def _layers(entries: Entries, prefix: str, mark: str) -> list[int]:
    """Numbers of the layers below `prefix` that have an entry `mark`."""
    names = [name.removeprefix(prefix) for name in entries.names(prefix)]
    return sorted(int(name.partition(".")[0]) for name in names if name.partition(".")[2] == mark)


def _mobileclip_config(entries: Entries, prefix: str, context: int | None) -> TextConfig:
    vocab, width = entries[f"{prefix}embedding_layer.weight"].shape
    attending = _layers(entries, f"{prefix}transformer.", "pre_norm_mha.1.qkv_proj.weight")
    mixing = _layers(entries, f"{prefix}transformer.", "token_mixer.layer_scale")
    if not attending or mixing not in ([], [0, attending[-1] + 1]):
        raise CheckpointError(f"no MobileCLIP that we know has attention in layers {attending} and mixers in {mixing}")
    return TextConfig(
        kind="clip",
        vocab_size=vocab,
        context=context or entries[f"{prefix}positional_embedding.pos_embed.pos_embed"].shape[2],
        width=width,
        layers=len(attending),
        heads=width // HEAD,
        ffn=entries[f"{prefix}transformer.{attending[0]}.pre_norm_ffn.1.weight"].shape[0],
        mixers=bool(mixing),
    )


def _sam3_config(entries: Entries, prefix: str, context: int | None) -> TextConfig:
    vocab, width = entries[f"{prefix}token_embedding.weight"].shape
    blocks = _layers(entries, f"{prefix}transformer.resblocks.", "attn.in_proj_weight")
    return TextConfig(
        kind="clip",
        vocab_size=vocab,
        context=context or entries[f"{prefix}positional_embedding"].shape[0],
        width=width,
        layers=len(blocks),
        heads=width // HEAD,
        ffn=entries[f"{prefix}transformer.resblocks.0.mlp.c_fc.weight"].shape[0],
        causal=True,
    )


def fit_table(table: Tensor, context: int, way: str) -> Tensor:
    """A position table [T, width] for prompts of `context` tokens: [context, width].

    Upstream cuts it (SAM3-LiteText and later) or squeezes it (the first text students, a table of 77 used at 32).

    Raises:
        CheckpointError: the context is longer than a table that is to be cut.
        ValueError: `way` is unknown.
    """
    if way not in TABLES:
        raise ValueError(f"unknown use of the position table {way!r}: choose {' or '.join(TABLES)}")
    if way == "cut":
        if context > len(table):
            raise CheckpointError(f"the checkpoint has positions for {len(table)} tokens: {context} are too many")
        return table[:context]
    size = (context, table.shape[1])
    return functional.interpolate(table[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def _linear(entries: Entries, source: str, target: str, shape: tuple[int, int]) -> State:
    return {
        f"{target}.weight": entries.take(f"{source}.weight", shape),
        f"{target}.bias": entries.take(f"{source}.bias", shape[:1]),
    }


def _norm(entries: Entries, source: str, target: str, width: int) -> State:
    return {f"{target}.{part}": entries.take(f"{source}.{part}", (width,)) for part in ("weight", "bias")}


def _attention(entries: Entries, weight: str, bias: str, out: str, target: str, width: int) -> State:
    """A fused projection, whose rows are queries, keys and values one after the other."""
    state = _linear(entries, out, f"{target}.out", (width, width))
    weights = entries.take(weight, (3 * width, width)).split(width)
    biases = entries.take(bias, (3 * width,)).split(width)
    for name, matrix, offset in zip(("query", "key", "value"), weights, biases, strict=True):
        state |= {f"{target}.{name}.weight": matrix, f"{target}.{name}.bias": offset}
    return state


def _mobileclip_state(entries: Entries, prefix: str, config: TextConfig, width: int, table: str) -> State:
    inner, encoder = config.width, f"{prefix}encoder."
    positions = entries.take(f"{encoder}positional_embedding.pos_embed.pos_embed")[0, 0]  # [T, width]
    state = {
        "token.weight": entries.take(f"{encoder}embedding_layer.weight", (config.vocab_size, inner)),
        "position": fit_table(positions, config.context, table),
    }
    edges = (0, config.layers + 1) if config.mixers else ()
    for index in range(config.layers + len(edges)):
        source, target = f"{encoder}transformer.{index}", f"blocks.{index}"
        if index in edges:
            state |= _mixer(entries, source, target, config)
            continue
        fused = f"{source}.pre_norm_mha.1"
        state |= _norm(entries, f"{source}.pre_norm_mha.0", f"{target}.norm_attention", inner)
        state |= _attention(
            entries, f"{fused}.qkv_proj.weight", f"{fused}.qkv_proj.bias", f"{fused}.out_proj",
            f"{target}.attention", inner,
        )  # fmt: skip
        state |= _norm(entries, f"{source}.pre_norm_ffn.0", f"{target}.norm_ffn", inner)
        state |= _linear(entries, f"{source}.pre_norm_ffn.1", f"{target}.expand", (config.ffn, inner))
        state |= _linear(entries, f"{source}.pre_norm_ffn.4", f"{target}.shrink", (inner, config.ffn))
    state |= _norm(entries, f"{encoder}final_layer_norm", "norm", inner)
    state |= _linear(entries, f"{prefix}projector", "project", (width, inner))
    entries.skip([f"{encoder}projection_layer"], "projects CLIP's sentence embedding, which the detector does not read")
    return state


def _sam3_state(entries: Entries, prefix: str, config: TextConfig, width: int, table: str) -> State:
    inner, encoder = config.width, f"{prefix}encoder."
    state = {
        "token.weight": entries.take(f"{encoder}token_embedding.weight", (config.vocab_size, inner)),
        "position": fit_table(entries.take(f"{encoder}positional_embedding"), config.context, table),
    }
    for index in range(config.layers):
        source, target = f"{encoder}transformer.resblocks.{index}", f"blocks.{index}"
        state |= _norm(entries, f"{source}.ln_1", f"{target}.norm_attention", inner)
        state |= _attention(
            entries, f"{source}.attn.in_proj_weight", f"{source}.attn.in_proj_bias", f"{source}.attn.out_proj",
            f"{target}.attention", inner,
        )  # fmt: skip
        state |= _norm(entries, f"{source}.ln_2", f"{target}.norm_ffn", inner)
        state |= _linear(entries, f"{source}.mlp.c_fc", f"{target}.expand", (config.ffn, inner))
        state |= _linear(entries, f"{source}.mlp.c_proj", f"{target}.shrink", (inner, config.ffn))
    state |= _norm(entries, f"{encoder}ln_final", "norm", inner)
    state |= _linear(entries, f"{prefix}resizer", "project", (width, inner))
    entries.skip([f"{encoder}text_projection"], "projects CLIP's sentence embedding, which the detector does not read")
    entries.skip([f"{encoder}attn_mask"], "computed")
    return state


def _batch_norm(entries: Entries, source: str, width: int) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation as scale and shift, each [width], in float64."""
    weight, bias, mean, variance = (
        entries.take(f"{source}.{part}", (width,)).double()
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    entries.skip([f"{source}.num_batches_tracked"], "counts training steps")
    scale = weight / (variance + BATCH_NORM_EPS).sqrt()
    return scale, bias - mean * scale


def _convolution(entries: Entries, source: str, width: int) -> tuple[Tensor, Tensor]:
    """A convolution along the phrase with its batch norm: kernel [width, 1, KERNEL] and bias [width], in float64."""
    scale, shift = _batch_norm(entries, f"{source}.bn", width)
    kernel = entries.take(f"{source}.conv.weight", (width, 1, 1, KERNEL))[:, :, 0].double()
    return kernel * scale[:, None, None], shift


def _mixer(entries: Entries, source: str, target: str, config: TextConfig) -> State:
    """x + s (BN(x) + conv(x) - BN'(x)) as one convolution, and the second layer scale within the last matrix."""
    width = config.width
    scale = entries.take(f"{source}.token_mixer.layer_scale", (width, 1, 1)).double()[:, 0, 0]
    kernel, bias = _convolution(entries, f"{source}.token_mixer.mixer.rbr_conv.0", width)
    skip, skip_bias = _batch_norm(entries, f"{source}.token_mixer.mixer.rbr_skip", width)
    less, less_bias = _batch_norm(entries, f"{source}.token_mixer.norm.rbr_skip", width)
    kernel = kernel * scale[:, None, None]
    kernel[:, 0, KERNEL // 2] += 1 + scale * (skip - less)
    gather, gather_bias = _convolution(entries, f"{source}.convffn.conv", width)
    last = entries.take(f"{source}.layer_scale", (width, 1, 1)).double()[:, 0, 0]
    shrink = entries.take(f"{source}.convffn.fc2.weight", (width, config.ffn, 1, 1))[:, :, 0, 0].double()
    folded = {
        "mix.weight": kernel,
        "mix.bias": scale * (bias + skip_bias - less_bias),
        "gather.weight": gather,
        "gather.bias": gather_bias,
        "expand.weight": entries.take(f"{source}.convffn.fc1.weight", (config.ffn, width, 1, 1))[:, :, 0, 0],
        "expand.bias": entries.take(f"{source}.convffn.fc1.bias", (config.ffn,)),
        "shrink.weight": shrink * last[:, None],
        "shrink.bias": entries.take(f"{source}.convffn.fc2.bias", (width,)).double() * last,
    }
    return {f"{target}.{name}": value.to(torch.float32).contiguous() for name, value in folded.items()}
