# SPDX-License-Identifier: Apache-2.0
"""SAM 3's tracker in our names, as a `dense` memory."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from esam3_core.config import StudentConfig
from esam3_core.convert.blocks import State, linear, mlp, norm
from esam3_core.convert.entries import Entries
from esam3_core.convert.neck import pyramid_state

PROJECTIONS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
LABELS = 4  # kinds of points that the heads know


def tracker_state(entries: Entries, prefix: str, neck: str, config: StudentConfig) -> State:
    """The weights of a `Sam3Memory`.

    Args:
        prefix: of the tracker's entries ("tracker."); neck: of its neck's ("...vision_backbone.sam2_convs.").
    """
    entries.skip(entries.names(f"{prefix}no_mem_pos_enc"), "belongs to a way of starting that upstream does not take")
    return {
        **_tables(entries, prefix, config),
        **_neck(entries, prefix, neck, config),
        **_encoder(entries, f"{prefix}maskmem_backbone", config),
        **_attention(entries, f"{prefix}transformer.encoder", config),
        **_prompts(entries, f"{prefix}sam_prompt_encoder", config),
        **_mask_prompt(entries, prefix, config),
        **_heads(entries, f"{prefix}sam_mask_decoder", config),
        **mlp(entries, f"{prefix}obj_ptr_proj", "heads.pointer", *[config.width] * 4),
    }


def _tables(entries: Entries, prefix: str, config: StudentConfig) -> State:
    own, width = config.memory, config.width
    times = entries.take(f"{prefix}maskmem_tpos_enc", (own.ring + 1, 1, 1, own.width))[:, 0, 0]
    return {
        # Upstream has the newest frame first and the prompted one last.
        "time": torch.cat([times[-1:], times[:-1]]),
        "no_memory": entries.take(f"{prefix}no_mem_embed", (1, 1, width))[0, 0],
        "no_object": entries.take(f"{prefix}no_obj_embed_spatial", (1, own.width))[0],
        "no_pointer": entries.take(f"{prefix}no_obj_ptr", (1, width))[0],
        **linear(entries, f"{prefix}obj_ptr_tpos_proj", "pointer_time", (own.width, width)),
    }


def _neck(entries: Entries, prefix: str, neck: str, config: StudentConfig) -> State:
    """The second neck, its fine maps narrowed at once as the heads want them: a 1x1 convolution behind a 3x3 one."""
    state = pyramid_state(entries, neck, config.width)
    for level, name, share in ((0, "smooth4", 8), (1, "smooth8", 4)):
        source, narrow = f"{prefix}sam_mask_decoder.conv_s{level}", config.width // share
        weight = entries.take(f"{source}.weight", (narrow, config.width, 1, 1))[:, :, 0, 0].double()
        bias = entries.take(f"{source}.bias", (narrow,)).double()
        full, offset = state[f"{name}.weight"].double(), state[f"{name}.bias"].double()
        state[f"{name}.weight"] = torch.einsum("on,nikl->oikl", weight, full).float()
        state[f"{name}.bias"] = (weight @ offset + bias).float()
    return {f"neck.{name}": value for name, value in state.items()}


def _encoder(entries: Entries, source: str, config: StudentConfig) -> State:
    own, width, inner = config.memory, config.width, config.memory.encoder_width
    mask = f"{source}.mask_downsampler.encoder"
    state = {
        **linear(entries, f"{mask}.12", "encoder.mask.out", (inner, inner, 1, 1)),
        **linear(entries, f"{source}.pix_feat_proj", "encoder.feature", (inner, width, 1, 1)),
        **linear(entries, f"{source}.out_proj", "encoder.out", (own.width, inner, 1, 1)),
    }
    halvings = [1, *(inner // 4 ** (own.mask_layers - 1 - index) for index in range(own.mask_layers))]
    for index, (before, after) in enumerate(pairwise(halvings)):
        state |= linear(entries, f"{mask}.{3 * index}", f"encoder.mask.halve.{index}", (after, before, 3, 3))
        state |= norm(entries, f"{mask}.{3 * index + 1}", f"encoder.mask.norms.{index}.norm", after)
    for index in range(own.encoder_layers):
        theirs, ours = f"{source}.fuser.layers.{index}", f"encoder.blocks.{index}"
        state |= {f"{ours}.gamma": entries.take(f"{theirs}.gamma", (inner,))}
        state |= linear(entries, f"{theirs}.dwconv", f"{ours}.around", (inner, 1, 7, 7))
        state |= norm(entries, f"{theirs}.norm", f"{ours}.norm", inner)
        state |= linear(entries, f"{theirs}.pwconv1", f"{ours}.expand", (4 * inner, inner))
        state |= linear(entries, f"{theirs}.pwconv2", f"{ours}.shrink", (inner, 4 * inner))
    return state


def _attention(entries: Entries, source: str, config: StudentConfig) -> State:
    own, width = config.memory, config.memory.token_width
    state = norm(entries, f"{source}.norm", "attention.norm", width)
    for index in range(own.attention_layers):
        theirs, ours = f"{source}.layers.{index}", f"attention.layers.{index}"
        for name, target, keys in (
            ("self_attn", "self_attention", width), ("cross_attn_image", "memory_attention", own.width)
        ):  # fmt: skip
            placed = _projections(
                entries, f"{theirs}.{name}", f"{ours}.{target}", width, own.attention_width, keys
            )
            for part in ("query", "key"):
                for kind in ("weight", "bias"):
                    placed[f"{ours}.{target}.{part}.{kind}"] = _halves(placed[f"{ours}.{target}.{part}.{kind}"])
            state |= placed
        state |= linear(entries, f"{theirs}.linear1", f"{ours}.mlp.layers.0", (own.ffn, width))
        state |= linear(entries, f"{theirs}.linear2", f"{ours}.mlp.layers.1", (width, own.ffn))
        for name in ("norm1", "norm2", "norm3"):
            state |= norm(entries, f"{theirs}.{name}", f"{ours}.{name}", width)
    return state


def _halves(rows: Tensor) -> Tensor:
    """Rows that RoPE turns in neighbouring pairs, in the order in which we turn them: first of each pair first."""
    return torch.cat([rows[0::2], rows[1::2]])


def _projections(
    entries: Entries, source: str, target: str, width: int, inner: int, keys: int | None = None
) -> State:
    """Attention with four linear layers; keys: channels of keys and values, None = `width`."""
    shapes = {"q_proj": (inner, width), "out_proj": (width, inner)}
    shapes |= dict.fromkeys(("k_proj", "v_proj"), (inner, keys or width))
    state: State = {}
    for name, ours in PROJECTIONS.items():
        state |= linear(entries, f"{source}.{name}", f"{target}.{ours}", shapes[name])
    return state


def _prompts(entries: Entries, source: str, config: StudentConfig) -> State:
    width = config.memory.token_width
    labels = [entries.take(f"{source}.point_embeddings.{index}.weight", (1, width)) for index in range(LABELS)]
    return {
        "heads.prompts.fourier": entries.take(
            f"{source}.pe_layer.positional_encoding_gaussian_matrix", (2, width // 2)
        ),
        "heads.prompts.label": torch.cat(labels),
        "heads.prompts.nothing": entries.take(f"{source}.not_a_point_embed.weight", (1, width)),
        "heads.prompts.no_mask": entries.take(f"{source}.no_mask_embed.weight", (1, width))[0],
    }


def _mask_prompt(entries: Entries, prefix: str, config: StudentConfig) -> State:
    source = f"{prefix}sam_prompt_encoder.mask_downscaling"
    return {
        **linear(entries, f"{prefix}mask_downsample", "mask_prompt.shrink", (1, 1, 4, 4)),
        **linear(entries, f"{source}.0", "mask_prompt.halve.0", (4, 1, 2, 2)),
        **norm(entries, f"{source}.1", "mask_prompt.norms.0.norm", 4),
        **linear(entries, f"{source}.3", "mask_prompt.halve.1", (16, 4, 2, 2)),
        **norm(entries, f"{source}.4", "mask_prompt.norms.1.norm", 16),
        **linear(entries, f"{source}.6", "mask_prompt.out", (config.memory.token_width, 16, 1, 1)),
    }


def _heads(entries: Entries, source: str, config: StudentConfig) -> State:
    own, width = config.memory, config.memory.token_width
    count = 1 + own.candidates
    state = {
        "heads.masks.object_token": entries.take(f"{source}.obj_score_token.weight", (1, width)),
        "heads.masks.iou_token": entries.take(f"{source}.iou_token.weight", (1, width)),
        "heads.masks.mask_tokens": entries.take(f"{source}.mask_tokens.weight", (count, width)),
        **_transposed(entries, f"{source}.output_upscaling.0", "heads.masks.up8", width, width // 4),
        **norm(entries, f"{source}.output_upscaling.1", "heads.masks.norm8.norm", width // 4),
        **_transposed(entries, f"{source}.output_upscaling.3", "heads.masks.up4", width // 4, width // 8),
        **mlp(entries, f"{source}.iou_prediction_head", "heads.masks.iou", width, width, width, count),
        **mlp(entries, f"{source}.pred_obj_score_head", "heads.masks.objectness", width, width, width, 1),
        **_two_way(entries, f"{source}.transformer", "heads.masks.two_way", config),
    }
    for index in range(count):
        name = f"{source}.output_hypernetworks_mlps.{index}"
        state |= mlp(entries, name, f"heads.masks.kernels.{index}", width, width, width, width // 8)
    return state


def _transposed(entries: Entries, source: str, target: str, inputs: int, outputs: int) -> State:
    return {
        f"{target}.weight": entries.take(f"{source}.weight", (inputs, outputs, 2, 2)),
        f"{target}.bias": entries.take(f"{source}.bias", (outputs,)),
    }


def _two_way(entries: Entries, source: str, target: str, config: StudentConfig) -> State:
    own, width = config.memory, config.memory.token_width
    state = _projections(entries, f"{source}.final_attn_token_to_image", f"{target}.to_image", width, width // 2)
    state |= norm(entries, f"{source}.norm_final_attn", f"{target}.norm", width)
    for index in range(own.head_layers):
        theirs, ours = f"{source}.layers.{index}", f"{target}.layers.{index}"
        state |= _projections(entries, f"{theirs}.self_attn", f"{ours}.self_attention", width, width)
        state |= _projections(entries, f"{theirs}.cross_attn_token_to_image", f"{ours}.to_image", width, width // 2)
        state |= _projections(entries, f"{theirs}.cross_attn_image_to_token", f"{ours}.to_tokens", width, width // 2)
        state |= linear(entries, f"{theirs}.mlp.lin1", f"{ours}.mlp.layers.0", (own.head_ffn, width))
        state |= linear(entries, f"{theirs}.mlp.lin2", f"{ours}.mlp.layers.1", (width, own.head_ffn))
        for name in ("norm1", "norm2", "norm3", "norm4"):
            state |= norm(entries, f"{theirs}.{name}", f"{ours}.{name}", width)
    return state
