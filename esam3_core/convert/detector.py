# SPDX-License-Identifier: Apache-2.0
"""Detector of official checkpoints in our names."""

from __future__ import annotations

import torch

from esam3_core.config import StudentConfig
from esam3_core.convert.blocks import State, attention, feed_forward, linear, mlp, norm
from esam3_core.convert.entries import Entries
from esam3_core.nn.sam3_prompts import BINS, LAYERS

UNUSED = {
    "segmentation_head.pixel_decoder.conv_layers.2": "a third enlargement that no level needs",
    "segmentation_head.pixel_decoder.norms.2": "a third enlargement that no level needs",
    "segmentation_head.semantic_seg_head": "one map of all instances together, which is no output of ours",
}
"""Entries (without "detector.") that are not imported -> why."""


def detector_state(entries: Entries, prefix: str, config: StudentConfig) -> State:
    """The weights of a `Sam3Detector` from the entries under `prefix` ("detector.")."""
    for name, reason in UNUSED.items():
        entries.skip(entries.names(f"{prefix}{name}."), reason)
    return {
        **_geometry(entries, f"{prefix}geometry_encoder", config),
        **_fusion(entries, f"{prefix}transformer.encoder", config),
        **_decoder(entries, f"{prefix}transformer.decoder", config),
        **_score(entries, f"{prefix}dot_prod_scoring", config),
        **_masks(entries, f"{prefix}segmentation_head", config),
    }


def _geometry(entries: Entries, source: str, config: StudentConfig) -> State:
    width = config.width
    seen = linear(entries, f"{source}.boxes_pool_project", "geometry.box_seen", (width, width, BINS, BINS))
    seen["geometry.box_seen.weight"] = seen["geometry.box_seen.weight"].flatten(1)
    state = {
        "geometry.label": entries.take(f"{source}.label_embed.weight", (2, width)),
        "geometry.summary": entries.take(f"{source}.cls_embed.weight", (1, width))[None],
        **linear(entries, f"{source}.points_direct_project", "geometry.point_place", (width, 2)),
        **linear(entries, f"{source}.points_pool_project", "geometry.point_seen", (width, width)),
        **linear(entries, f"{source}.points_pos_enc_project", "geometry.point_wave", (width, width)),
        **linear(entries, f"{source}.boxes_direct_project", "geometry.box_place", (width, 4)),
        **seen,
        **linear(entries, f"{source}.boxes_pos_enc_project", "geometry.box_wave", (width, width + 2)),
        **linear(entries, f"{source}.final_proj", "geometry.project", (width, width)),
        **norm(entries, f"{source}.norm", "geometry.norm_in", width),
        **norm(entries, f"{source}.img_pre_norm", "geometry.image_norm", width),
        **norm(entries, f"{source}.encode_norm", "geometry.norm_out", width),
    }
    for index in range(LAYERS):
        state |= _pre_norm_layer(entries, f"{source}.encode.{index}", f"geometry.layers.{index}", config)
    return state


def _fusion(entries: Entries, source: str, config: StudentConfig) -> State:
    state: State = {}
    for index in range(config.encoder_layers):
        state |= _pre_norm_layer(entries, f"{source}.layers.{index}", f"fusion.layers.{index}", config)
    return state


def _pre_norm_layer(entries: Entries, source: str, target: str, config: StudentConfig) -> State:
    state = attention(entries, f"{source}.self_attn", f"{target}.self_attention", config.width)
    # What upstream calls attention to the image is attention to the prompt in the fusion encoder.
    state |= attention(entries, f"{source}.cross_attn_image", f"{target}.prompt_attention", config.width)
    state |= feed_forward(entries, source, f"{target}.mlp", config.width, config.ffn)
    for name in ("norm1", "norm2", "norm3"):
        state |= norm(entries, f"{source}.{name}", f"{target}.{name}", config.width)
    return state


ATTENTIONS = {"self_attn": "self_attention", "ca_text": "prompt_attention", "cross_attn": "image_attention"}
NORMS = {"norm2": "norm1", "catext_norm": "norm2", "norm1": "norm3", "norm3": "norm4"}
"""Norms of a decoder layer: upstream numbers them by kind, we in the order in which they are used."""


def _decoder(entries: Entries, source: str, config: StudentConfig) -> State:
    width, heads = config.width, config.heads
    state = {
        "queries": entries.take(f"{source}.query_embed.weight", (config.queries, width)),
        "references": entries.take(f"{source}.reference_points.weight", (config.queries, 4)),
        "decoder.presence_token": entries.take(f"{source}.presence_token.weight", (1, width))[None],
        **mlp(entries, f"{source}.ref_point_head", "decoder.position", 2 * width, width, width),
        **mlp(entries, f"{source}.boxRPB_embed_x", "decoder.box_bias.x", 2, width, heads),
        **mlp(entries, f"{source}.boxRPB_embed_y", "decoder.box_bias.y", 2, width, heads),
        **mlp(entries, f"{source}.bbox_embed", "decoder.box", width, width, width, 4),
        **mlp(entries, f"{source}.presence_token_head", "decoder.presence", width, width, width, 1),
        **norm(entries, f"{source}.presence_token_out_norm", "decoder.presence_norm", width),
        **norm(entries, f"{source}.norm", "decoder.norm", width),
    }
    # Upstream embeds a box as y, x, w, h; we embed x, y, w, h.
    y, x, sides = state["decoder.position.layers.0.weight"].split((width // 2, width // 2, width), 1)
    state["decoder.position.layers.0.weight"] = torch.cat([x, y, sides], 1)
    for index in range(config.decoder_layers):
        theirs, ours = f"{source}.layers.{index}", f"decoder.layers.{index}"
        for name, own in ATTENTIONS.items():
            state |= attention(entries, f"{theirs}.{name}", f"{ours}.{own}", width)
        for name, own in NORMS.items():
            state |= norm(entries, f"{theirs}.{name}", f"{ours}.{own}", width)
        state |= feed_forward(entries, theirs, f"{ours}.mlp", width, config.ffn)
    return state


def _score(entries: Entries, source: str, config: StudentConfig) -> State:
    width = config.width
    return {
        **mlp(entries, f"{source}.prompt_mlp", "decoder.score.prompt_mlp", width, config.ffn, width),
        **norm(entries, f"{source}.prompt_mlp.out_norm", "decoder.score.prompt_norm", width),
        **linear(entries, f"{source}.prompt_proj", "decoder.score.prompt_out", (width, width)),
        **linear(entries, f"{source}.hs_proj", "decoder.score.token_out", (width, width)),
        "decoder.score.bias": torch.zeros(()),
    }


def _masks(entries: Entries, source: str, config: StudentConfig) -> State:
    width = config.width
    state = attention(entries, f"{source}.cross_attend_prompt", "pixels.attention", width)
    state |= norm(entries, f"{source}.cross_attn_norm", "pixels.norm", width)
    for index, name in enumerate(("mix8", "mix4")):
        decoder = f"{source}.pixel_decoder"
        state |= linear(entries, f"{decoder}.conv_layers.{index}", f"pixels.{name}.0", (width, width, 3, 3))
        state |= norm(entries, f"{decoder}.norms.{index}", f"pixels.{name}.1", width)
    pixel = linear(entries, f"{source}.instance_seg_head", "masks.pixel", (width, width, 1, 1))
    pixel["masks.pixel.weight"] = pixel["masks.pixel.weight"].flatten(1)
    return state | pixel | mlp(entries, f"{source}.mask_predictor.mask_embed", "masks.query", *[width] * 4)
