# SPDX-License-Identifier: Apache-2.0
"""SAM 3 with random weights and sizes small enough for tests; a user's folder of real weights looks the same."""

from __future__ import annotations

from pathlib import Path

import torch

from esam3_core.nn.trunk import _import_timm


def write_tiny_sam3(folder: Path) -> Path:
    """Write config.json and model.safetensors of a SAM 3 that reads 56 x 56 pixels."""
    _import_timm()
    from transformers import Sam3VideoConfig, Sam3VideoModel

    side, width, trunk = 4, 128, 32
    vision = {
        "fpn_hidden_size": width,
        "backbone_feature_sizes": [[4 * side, 4 * side], [2 * side, 2 * side], [side, side]],
        "backbone_config": {
            "model_type": "sam3_vit_model", "hidden_size": trunk, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "image_size": 14 * side, "patch_size": 14, "window_size": 2,
            "global_attn_indexes": [1], "pretrain_image_size": 28,
        },
    }  # fmt: skip
    block = {"hidden_size": width, "num_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    detector = {
        "model_type": "sam3",
        "vision_config": vision,
        "text_config": {
            "model_type": "clip_text_model", "vocab_size": 49408, "hidden_size": 16, "intermediate_size": 32,
            "projection_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32,
            "hidden_act": "gelu",
        },
        "geometry_encoder_config": block,
        "detr_encoder_config": block,
        "detr_decoder_config": block | {"num_queries": 6},
        "mask_decoder_config": {"hidden_size": width, "num_attention_heads": 4},
    }  # fmt: skip
    tracker = {
        "model_type": "sam3_tracker_video", "image_size": 14 * side,
        "vision_config": {"model_type": "sam3_vision_model", **vision},
        "prompt_encoder_config": {"hidden_size": width, "image_size": 14 * side, "patch_size": 14},
        "mask_decoder_config": {
            "hidden_size": width, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": 16,
        },
        "memory_attention_hidden_size": width, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 48, "memory_encoder_hidden_size": width,
        "memory_encoder_output_channels": 64, "memory_attention_rope_feat_sizes": [side, side],
        "mask_downsampler_embed_dim": width, "memory_fuser_embed_dim": width, "memory_fuser_intermediate_dim": 48,
    }  # fmt: skip
    torch.manual_seed(0)
    model = Sam3VideoModel(Sam3VideoConfig(detector_config=detector, tracker_config=tracker)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Tables that start at zero would hide that they are used.
            parameter.copy_(torch.randn_like(parameter) * 0.15 + (1.0 if "norm" in name and "weight" in name else 0.0))
        model.tracker_model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(8.0)  # every object is visible
    model.save_pretrained(folder)
    return folder
