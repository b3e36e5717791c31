# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint is: trunk, text encoder, context, tracker; or a sentence about why it cannot be used."""

from __future__ import annotations

import re
from dataclasses import dataclass

from esam3_core.config import TextConfig
from esam3_core.convert.checkpoint import Checkpoint
from esam3_core.convert.entries import Entries
from esam3_core.convert.foreign import explain_foreign
from esam3_core.convert.releases import releases
from esam3_core.convert.text import text_config
from esam3_core.runtime.errors import CheckpointError

VISION = "detector.backbone.vision_backbone."
TRUNK = f"{VISION}trunk.model.backbone.model."
HEAD = f"{VISION}trunk.model.head.0.weight"
TEXT = "detector.backbone.language_backbone."

FAMILIES = {
    "tv": ("TinyViT", "patch_embed.seq.0.c.weight", {320: "tv_s", 448: "tv_m", 576: "tv_l"}),
    "rv": ("RepViT", "features.0.0.c.weight", {384: "rv_s", 512: "rv_m", 640: "rv_l"}),
    "ev": ("EfficientViT", "input_stem.op_list.0.conv.weight", {128: "ev_s", 256: "ev_m", 384: "ev_l"}),
}
"""Family -> its name, an entry that no other family has, and the channels of its last map -> variant."""

LEGACY_WEIGHTS = ("mobileclip_s1", "mobileclip_s1_finetuned")
LEGACY_TABLE, LEGACY_CONTEXT = 77, 32
"""The first text students, known by their files' names, have 77 positions, squeezed to 32 tokens."""


@dataclass(frozen=True)
class Recognised:
    """What an official checkpoint holds."""

    release: str  # "3" or "3.1", the SAM 3 that was distilled
    variant: str  # one of the nine trunks, key of config.TRUNKS
    text: TextConfig
    table: str  # one of convert.text.TABLES: how the position table is used
    interactive: bool  # it has a second neck for points and video
    tracker: str  # none, dense (SAM 3's) or multiplex (SAM 3.1's, which is not supported)

    def describe(self) -> str:
        """One line for people."""
        family = FAMILIES[self.variant[:2]][0]
        squeezed = " (positions squeezed)" if self.table == "interpolate" else ""
        tracker = {"none": "no tracker", "dense": "SAM 3's tracker", "multiplex": "SAM 3.1's tracker"}[self.tracker]
        return (
            f"EfficientSAM{self.release}, {family} ({self.variant}), text encoder {text_name(self.text)}, "
            f"context {self.text.context}{squeezed}, {tracker}"
        )


def recognise(
    checkpoint: Checkpoint, variant: str | None = None, context: int | None = None, table: str | None = None
) -> Recognised:
    """Find out what a checkpoint is.

    Args:
        variant: what it should be; None = whatever it is.
        context: tokens of a prompt; None = what the file says, in its notes, its name or its position table.
        table: one of convert.text.TABLES; None = as upstream used that kind of checkpoint.

    Raises:
        CheckpointError: it is another model, a part of one, or another variant than asked for.
    """
    names = checkpoint.tensors.keys()
    if HEAD not in names:
        raise CheckpointError(f"{checkpoint.path} {explain_foreign(names)}")
    found = _variant(checkpoint)
    if variant is not None and variant != found:
        raise CheckpointError(f"{checkpoint.path} is {found}, not {variant}: leave --variant out, or give another file")
    entries = Entries(checkpoint.tensors)
    positions = text_config(entries, TEXT).context
    legacy = positions == LEGACY_TABLE and _is_legacy(checkpoint, found)
    context = context or (LEGACY_CONTEXT if legacy else _context(checkpoint, positions))
    table = table or ("interpolate" if legacy else "cut")
    return Recognised(
        release="3.1" if _has(checkpoint, f"{VISION}interactive_convs.", f"{VISION}propagation_convs.") else "3",
        variant=found,
        text=text_config(entries, TEXT, context),
        table=table,
        interactive=_has(checkpoint, f"{VISION}sam2_convs.", f"{VISION}interactive_convs."),
        tracker=_tracker(checkpoint),
    )


def need_tracker(checkpoint: Checkpoint, recognised: Recognised) -> None:
    """Refuse a checkpoint whose tracker cannot run here.

    Raises:
        CheckpointError: it has no tracker or SAM 3.1's.
    """
    if recognised.tracker == "multiplex":
        raise CheckpointError(
            f"{checkpoint.path} has SAM 3.1's tracker, in which 16 objects share one memory; esam3 does not run it: "
            "import without the tracker (detections are then tracked by overlap), or take a SAM 3 checkpoint"
        )
    if recognised.tracker == "none":
        raise CheckpointError(
            f"{checkpoint.path} has no tracker: import without it (detections are then tracked by overlap), or take a "
            "merged checkpoint"
        )


def text_name(config: TextConfig) -> str:
    """The name of a text encoder among those that upstream uses."""
    if config.causal:
        return "SAM 3"
    if config.mixers:
        return "MobileCLIP-S0"
    return "MobileCLIP-S1" if config.width == 512 else "MobileCLIP2-L"


def _variant(checkpoint: Checkpoint) -> str:
    channels = checkpoint.tensors[HEAD].shape[1]
    for label, mark, sizes in FAMILIES.values():
        if TRUNK + mark in checkpoint.tensors:
            if channels not in sizes:
                raise CheckpointError(
                    f"{checkpoint.path} has a {label} with {channels} channels, which is none of {list(sizes)}"
                )
            return sizes[channels]
    raise CheckpointError(f"{checkpoint.path} has a student trunk that is no TinyViT, RepViT or EfficientViT")


def _has(checkpoint: Checkpoint, *prefixes: str) -> bool:
    return any(name.startswith(prefixes) for name in checkpoint.tensors)


def _tracker(checkpoint: Checkpoint) -> str:
    if _has(checkpoint, "tracker.model.", "tracker.interactive", "tracker.interactivity"):
        return "multiplex"
    return "dense" if _has(checkpoint, "tracker.maskmem_backbone.") else "none"


def _context(checkpoint: Checkpoint, positions: int) -> int:
    """Tokens of a prompt, as the notes, the file's name or the position table say."""
    noted = checkpoint.notes.get("text_context_length")
    if isinstance(noted, int) and noted > 0:
        return noted
    named = re.search(r"ctx(\d+)", checkpoint.path.name)
    if named and 0 < int(named[1]) <= positions:
        return int(named[1])
    return positions


def _is_legacy(checkpoint: Checkpoint, variant: str) -> bool:
    """Whether it is one of the releases with the first text students."""
    files = (release.file for release in releases(variant).values() if release.weights in LEGACY_WEIGHTS)
    return checkpoint.path.name in {file.rpartition("/")[2] for file in files}
