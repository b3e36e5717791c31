# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other models and parts of ours, told by the names of their entries."""

from __future__ import annotations

from collections.abc import Iterable

RELEASED = "take a released EfficientSAM3 checkpoint (`esam3 fetch`)"
TRANSFORMERS = f"is a SAM 3 of the transformers library, with its large image encoder: {RELEASED}"

SIGNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("detector.backbone.vision_backbone.trunk.blocks.",),
        "has SAM 3's own image encoder (ViT, 447 million parameters), as SAM 3 and SAM3-LiteText do; esam3 runs the "
        f"nine small ones: {RELEASED}",
    ),
    (("detector_model.vision_encoder.",), TRANSFORMERS),
    (("vision_encoder.backbone.layers.",), TRANSFORMERS),
    (
        ("detector.backbone.model.", "head.0.weight"),
        "is a stage 1 image encoder without its detector: merge it with upstream's "
        f"convert_image_encoder_weights_stage1.py, or {RELEASED}",
    ),
    (
        ("encoder.embedding_layer.", "projector."),
        "is a stage 1 text encoder without image encoder and detector: merge it with upstream's "
        f"convert_text_encoder_weights_stage1.py, or {RELEASED}",
    ),
    (("image_encoder.trunk.", "spatial_perceiver."), f"is EdgeTAM: {RELEASED}"),
    (("image_encoder.trunk.", "memory_attention."), f"is SAM 2: {RELEASED}"),
    (("image_encoder.", "prompt_encoder.", "mask_decoder."), f"is SAM or one of its relatives: {RELEASED}"),
    (("image_encoder.", "text_encoder.", "logit_scale"), f"is MobileCLIP, without a detector: {RELEASED}"),
    (("visual.", "logit_scale"), f"is CLIP, without a detector: {RELEASED}"),
    (("text_model.", "vision_model."), f"is CLIP, without a detector: {RELEASED}"),
    (("image_encoder.trunk.body.", "text_encoder.token."), "is a student of esam3 already: `esam3 export` bundles it"),
    (("backbone.0.body.", "class_embed."), f"is DETR or one of its relatives: {RELEASED}"),
    (("fc.weight", "layer1."), f"is a ResNet classifier: {RELEASED}"),
    (("cls_token", "blocks.0."), f"is a ViT classifier: {RELEASED}"),
    (("stages.", "stem."), f"is an image classifier of timm: {RELEASED}"),
    (("model.0.conv.",), f"is a YOLO model: {RELEASED}"),
)
"""Beginnings of names that a checkpoint must all have -> what it then is and what to do. The first that fits counts."""


def explain_foreign(names: Iterable[str]) -> str:
    """What a checkpoint without a student's image encoder is, to follow its path in a sentence."""
    known = sorted(names)
    for signs, sentence in SIGNS:
        if all(any(name.startswith(sign) for name in known) for sign in signs):
            return sentence
    if any(name.startswith("detector.") for name in known):
        return f"has a detector of SAM 3 without a student's image encoder, so it is only a part of one: {RELEASED}"
    return f"is the checkpoint of another model ({len(known)} entries, such as {', '.join(known[:2])}): {RELEASED}"
