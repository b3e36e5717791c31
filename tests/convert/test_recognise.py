# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is: nine trunks, text encoders, contexts, trackers; and what other models' checkpoints are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from esam3_core.convert.checkpoint import Checkpoint, official_names
from esam3_core.convert.recognise import HEAD, TEXT, TRUNK, VISION, Recognised, need_tracker, recognise
from esam3_core.runtime.errors import CheckpointError
from tests.convert.vectors import VARIANTS, needs_vectors, shapes

MARKS = {"tv": "patch_embed.seq.0.c.weight", "rv": "features.0.0.c.weight", "ev": "input_stem.op_list.0.conv.weight"}
CHANNELS = {
    "tv_s": 320, "tv_m": 448, "tv_l": 576, "rv_s": 384, "rv_m": 512, "rv_l": 640, "ev_s": 128, "ev_m": 256, "ev_l": 384,
}  # fmt: skip


def empty(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")


def mobileclip(width: int, layers: int, table: int, mixers: bool = False) -> dict[str, Tensor]:
    """The entries of a text encoder that tell its sizes."""
    state = {
        f"{TEXT}encoder.embedding_layer.weight": empty(49408, width),
        f"{TEXT}encoder.positional_embedding.pos_embed.pos_embed": empty(1, 1, table, width),
    }
    for index in range(int(mixers), layers + int(mixers)):
        layer = f"{TEXT}encoder.transformer.{index}"
        state[f"{layer}.pre_norm_mha.1.qkv_proj.weight"] = empty(3 * width, width)
        state[f"{layer}.pre_norm_ffn.1.weight"] = empty(4 * width, width)
    for index in (0, layers + 1) if mixers else ():
        state[f"{TEXT}encoder.transformer.{index}.token_mixer.layer_scale"] = empty(width, 1, 1)
    return state


def sam3_text() -> dict[str, Tensor]:
    return {
        f"{TEXT}encoder.token_embedding.weight": empty(49408, 1024),
        f"{TEXT}encoder.positional_embedding": empty(32, 1024),
        f"{TEXT}encoder.transformer.resblocks.0.attn.in_proj_weight": empty(3072, 1024),
        f"{TEXT}encoder.transformer.resblocks.0.mlp.c_fc.weight": empty(4096, 1024),
    }


def student(variant: str = "tv_m", text: dict[str, Tensor] | None = None, **extra: Tensor) -> dict[str, Tensor]:
    trunk = {HEAD: empty(1024, CHANNELS[variant], 1, 1), TRUNK + MARKS[variant[:2]]: empty(32, 3, 3, 3)}
    return {**trunk, **(mobileclip(512, 4, 16, mixers=True) if text is None else text), **extra}


def found(tensors: dict[str, Tensor], name: str = "checkpoint.pt", notes: dict | None = None, **asked) -> Recognised:
    return recognise(Checkpoint(Path(name), tensors, notes or {}), **asked)


@needs_vectors
@pytest.mark.parametrize(("name", "variant"), list(zip(VARIANTS, ("ev_m", "rv_m", "tv_m"), strict=True)))
def test_official_checkpoints_are_recognised_from_their_entries(name: str, variant: str) -> None:
    merged = variant == "tv_m"
    seen = found({entry: empty(*shape) for entry, shape in shapes(name).items()})
    assert (seen.release, seen.variant, seen.interactive, seen.tracker) == (
        "3", variant, merged, "dense" if merged else "none"
    )  # fmt: skip
    assert (seen.text.context, seen.text.width, seen.text.layers, seen.text.mixers) == (16, 512, 4, True)
    assert seen.table == "cut"
    assert f"({variant}), text encoder MobileCLIP-S0, context 16" in seen.describe()


@pytest.mark.parametrize("variant", CHANNELS)
def test_all_nine_trunks(variant: str) -> None:
    assert found(student(variant)).variant == variant


@pytest.mark.parametrize(
    ("text", "name", "width", "layers", "causal"),
    [
        (mobileclip(512, 4, 16, mixers=True), "MobileCLIP-S0", 512, 4, False),
        (mobileclip(512, 12, 16), "MobileCLIP-S1", 512, 12, False),
        (mobileclip(768, 12, 16), "MobileCLIP2-L", 768, 12, False),
        (sam3_text(), "SAM 3", 1024, 1, True),
    ],
)
def test_all_text_encoders(text: dict[str, Tensor], name: str, width: int, layers: int, causal: bool) -> None:
    seen = found(student(text=text))
    assert (seen.text.width, seen.text.layers, seen.text.causal) == (width, layers, causal)
    assert seen.text.heads == width // 64 and seen.text.ffn == 4 * width
    assert f"text encoder {name}," in seen.describe()


@pytest.mark.parametrize(
    ("positions", "name", "notes", "context", "table"),
    [
        (16, "a.pt", {}, 16, "cut"),
        (32, "a.pt", {}, 32, "cut"),
        (77, "efficient_sam3_tinyvit_11m_mobileclip_s1.pth", {}, 32, "interpolate"),  # the first text students
        (77, "a.pt", {}, 77, "cut"),
        (77, "sam3_mobileclip_s0_ctx16.pt", {}, 16, "cut"),
        (32, "a.pt", {"text_context_length": 16, "text_pos_embed_table_size": 32}, 16, "cut"),
        (16, "made_from_ctx32.pt", {}, 16, "cut"),  # the name promises more than there is
        (77, "a_ctx16.pt", {"text_context_length": 77}, 77, "cut"),
    ],
)
def test_the_context_comes_from_notes_name_or_table(
    positions: int, name: str, notes: dict, context: int, table: str
) -> None:
    seen = found(student(text=mobileclip(512, 12, positions)), name, notes)
    assert (seen.text.context, seen.table) == (context, table)


def test_context_and_table_can_be_chosen() -> None:
    text = mobileclip(512, 12, 77)
    seen = found(student(text=text), context=16, table="interpolate")
    assert (seen.text.context, seen.table) == (16, "interpolate")
    assert "positions squeezed" in seen.describe()


def test_another_variant_than_asked_for_is_refused() -> None:
    assert found(student("rv_s"), variant="rv_s").variant == "rv_s"
    with pytest.raises(CheckpointError, match="is rv_s, not tv_m: leave --variant out"):
        found(student("rv_s"), variant="tv_m")


def test_sam_3_1_is_recognised_and_its_tracker_refused() -> None:
    newer = student(**{
        f"{VISION}interactive_convs.0.conv_1x1.weight": empty(256, 256, 1, 1),
        "tracker.model.interactive_mask_downsample.weight": empty(1, 1, 4, 4),
    })
    seen = found(newer)
    assert (seen.release, seen.interactive, seen.tracker) == ("3.1", True, "multiplex")
    with pytest.raises(CheckpointError, match=r"SAM 3\.1's tracker, in which 16 objects share .*import without"):
        need_tracker(Checkpoint(Path("a.pt"), newer), seen)


def test_a_tracker_that_is_not_there_is_refused_and_one_that_is_there_is_not() -> None:
    with pytest.raises(CheckpointError, match="has no tracker"):
        need_tracker(Checkpoint(Path("a.pt"), student()), found(student()))
    merged = student(**{"tracker.maskmem_backbone.out_proj.weight": empty(64, 256, 1, 1)})
    need_tracker(Checkpoint(Path("a.pt"), merged), found(merged))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight"], "SAM 3's own image encoder"),
        (["detector_model.vision_encoder.backbone.layers.0.a", "tracker_model.x"], "SAM 3 of the transformers library"),
        (["student_trunk.backbone.model.features.0.0.c.weight", "student_trunk.head.0.weight"], "without its detector"),
        (["encoder.embedding_layer.weight", "projector.weight"], "is a stage 1 text encoder"),
        (["image_encoder.trunk.blocks.0.x", "memory_attention.layers.0.x"], "is SAM 2"),
        (["image_encoder.trunk.x", "memory_attention.layers.0.x", "spatial_perceiver.x"], "is EdgeTAM"),
        (["image_encoder.patch_embed.x", "prompt_encoder.x", "mask_decoder.x"], "is SAM or one of its relatives"),
        (["visual.conv1.weight", "logit_scale", "token_embedding.weight"], "is CLIP"),
        (["image_encoder.trunk.body.conv_stem.weight", "text_encoder.token.weight"], "is a student of esam3"),
        (["layer1.0.conv1.weight", "fc.weight"], "is a ResNet classifier"),
        (["detector.transformer.decoder.norm.weight"], "is only a part of one"),
        (["something.else"], "is the checkpoint of another model (1 entries, such as something.else)"),
    ],
)
def test_other_models_are_named(names: list[str], said: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        found(official_names({name: torch.zeros(1) for name in names}), "theirs.pt")
    assert said in str(caught.value)
    assert str(caught.value).startswith("theirs.pt ")
    assert "esam3 " in str(caught.value)  # a command that helps


def test_a_student_of_another_size_and_one_without_text_encoder_are_refused() -> None:
    with pytest.raises(CheckpointError, match="RepViT with 448 channels"):
        found({**student("rv_m"), HEAD: empty(1024, 448, 1, 1)})
    with pytest.raises(CheckpointError, match="no text encoder"):
        found(student(text={}))
