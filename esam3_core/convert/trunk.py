# SPDX-License-Identifier: Apache-2.0
"""Trunks of official checkpoints: EfficientSAM3's names of RepViT, TinyViT and EfficientViT as timm's."""

from __future__ import annotations

import re
from collections.abc import Callable

from esam3_core.config import TRUNKS
from esam3_core.convert.blocks import State
from esam3_core.convert.entries import Entries
from esam3_core.nn.trunk import Trunk
from esam3_core.runtime.errors import CheckpointError

HEADS = re.compile(r"^(head|norm_head|classifier|distillation_classifier|stages\.\d\.head)\b")
"""Parts of ImageNet classifiers, which some checkpoints carry along."""


def trunk_state(entries: Entries, prefix: str, trunk: Trunk, variant: str) -> State:
    """The weights of a `Trunk`; every entry under `prefix` is taken or skipped with a reason.

    Raises:
        CheckpointError: an entry is missing, has another shape, or belongs to no layer of the trunk.
    """
    entries.skip(
        [name for name in entries.names(prefix) if HEADS.match(name.removeprefix(prefix))],
        "classifies ImageNet, which no student does",
    )
    sources = [name.removeprefix(prefix) for name in entries.unused(prefix)]
    rename = RENAMES[variant[:2]](sources)
    # timm joins the first levels of names where it gives feature maps: stages.0.x is stages_0.x there.
    own = {name.replace(".", "_"): name for name in trunk.body.state_dict()}
    targets = {source: own.pop(rename(source).replace(".", "_"), None) for source in sources}
    unknown = [prefix + source for source, target in targets.items() if target is None]
    if unknown or own:
        what = f"has entries that it does not ({unknown[0]})" if unknown else f"lacks {next(iter(own.values()))}"
        raise CheckpointError(f"the checkpoint's trunk is not {TRUNKS[variant]}: it {what}")
    shapes = {name: tuple(value.shape) for name, value in trunk.body.state_dict().items()}
    return {
        f"body.{target}": entries.take(prefix + source, shapes[target])
        for source, target in targets.items()
        if target is not None
    }


def _rename_tinyvit(sources: list[str]) -> Callable[[str], str]:
    def rename(name: str) -> str:
        name = re.sub(r"^patch_embed\.seq\.(\d)", lambda m: f"patch_embed.conv{int(m[1]) // 2 + 1}", name)
        # A stage of timm's begins with the downsampling that ends upstream's layer before it.
        name = re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"stages.{int(m[1]) + 1}.downsample", name)
        return re.sub(r"^layers\b", "stages", name).replace(".c.weight", ".conv.weight")

    return rename


def _rename_efficientvit(sources: list[str]) -> Callable[[str], str]:
    def rename(name: str) -> str:
        name = name.replace("input_stem.op_list.0.", "stem.in_conv.")
        name = re.sub(r"^input_stem\.op_list\.(\d+)", lambda m: f"stem.res{int(m[1]) - 1}", name)
        return name.replace(".op_list.", ".blocks.")

    return rename


def _rename_repvit(sources: list[str]) -> Callable[[str], str]:
    places = _repvit_places(sources)

    def rename(name: str) -> str:
        stem = re.match(r"^features\.0\.(\d)\.", name)
        if stem:
            return f"stem.conv{int(stem[1]) // 2 + 1}." + name[stem.end() :]
        found = re.match(r"^features\.(\d+)\.", name)
        if not found:
            return name
        place, inner = places[int(found[1])], name[found.end() :]
        for part, ours in DOWN if place.endswith("downsample") else BLOCK:
            if inner.startswith(part):
                return f"{place}.{ours}{inner.removeprefix(part)}"
        return name

    return rename


MIXER = (("channel_mixer.m.0.", "channel_mixer.conv1."), ("channel_mixer.m.2.", "channel_mixer.conv2."))
BLOCK = (("token_mixer.0.", "token_mixer."), ("token_mixer.1.", "se."), *MIXER)
DOWN = (
    ("token_mixer.0.", "spatial_downsample."), ("token_mixer.2.", "channel_downsample."),
    ("channel_mixer.m.0.", "ffn.conv1."), ("channel_mixer.m.2.", "ffn.conv2."),
)  # fmt: skip


def _repvit_places(sources: list[str]) -> dict[int, str]:
    """Number of each of upstream's blocks -> where timm has it: a stride-2 block and the one before it open a stage."""
    numbers = sorted({int(m[1]) for m in (re.match(r"^features\.(\d+)\.", name) for name in sources) if m} - {0})
    strided = {n for n in numbers if f"features.{n}.token_mixer.2.c.weight" in sources}
    places, stage, block = {}, 0, 0
    for number in numbers:
        if number + 1 in strided:
            stage, block = stage + 1, 0
            places[number] = f"stages.{stage}.downsample.pre_block"
        elif number in strided:
            places[number] = f"stages.{stage}.downsample"
        else:
            places[number] = f"stages.{stage}.blocks.{block}"
            block += 1
    return places


RENAMES = {"tv": _rename_tinyvit, "ev": _rename_efficientvit, "rv": _rename_repvit}
