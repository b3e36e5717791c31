# SPDX-License-Identifier: Apache-2.0
"""A student out of an official checkpoint: every entry is used or named, with the reason, in a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from esam3_core.config import MemoryConfig, StudentConfig, TextConfig
from esam3_core.convert.blocks import State
from esam3_core.convert.checkpoint import Checkpoint, open_checkpoint
from esam3_core.convert.detector import detector_state
from esam3_core.convert.entries import Entries
from esam3_core.convert.ground import Official
from esam3_core.convert.neck import head_state, pyramid_state
from esam3_core.convert.recognise import TEXT, TRUNK, VISION, Recognised, need_tracker, recognise
from esam3_core.convert.text import text_state
from esam3_core.convert.tracker import tracker_state
from esam3_core.convert.trunk import trunk_state
from esam3_core.nn.sam3_memory import OFFICIAL_MEMORY
from esam3_core.nn.student import Student
from esam3_core.runtime.errors import CheckpointError

TRACKER, TRACKER_NECK = "tracker.", f"{VISION}sam2_convs."
OTHER_NECKS = (TRACKER_NECK, f"{VISION}interactive_convs.", f"{VISION}propagation_convs.")


@dataclass(frozen=True)
class Imported:
    """A student and where it comes from."""

    student: Student  # in evaluation mode
    recognised: Recognised
    used: int  # entries
    skipped: dict[str, str]  # entry -> why it is not needed

    def report(self) -> str:
        """What was made of the checkpoint's entries, a line per reason."""
        reasons: dict[str, list[str]] = {}
        for name, reason in self.skipped.items():
            reasons.setdefault(reason, []).append(name)
        lines = [f"{self.recognised.describe()}: {self.used} entries used, {len(self.skipped)} left out"]
        return "\n".join(lines + [f"  {len(names)} {_common(names)}: {reason}" for reason, names in reasons.items()])


def official(
    path: str | Path, variant: str | None = None, context: int | None = None, table: str | None = None
) -> Official:
    """An official checkpoint as a torch module that answers prompts; see `Official.ground`.

    Args:
        path: a .pt, .pth or .safetensors file of EfficientSAM3.
        variant: what it should be, key of `config.TRUNKS`; None = whatever it is.
        context: tokens of a prompt; None = as the file says.
        table: how more positions than that are used, "cut" or "interpolate"; None = as upstream did with such a file.

    Raises:
        CheckpointError: it is something else, cut short, or of another variant; the message says what to do.
    """
    return Official(convert(open_checkpoint(path), variant, context, table).student)


def official_config(variant: str, text: TextConfig, tracker: bool = False) -> StudentConfig:
    """The sizes of every official model.

    Args:
        tracker: with the memory of its tracker.
    """
    return StudentConfig(
        variant=variant,
        neck="sam3",
        size=1008,
        antialias=True,
        width=256,
        heads=8,
        ffn=2048,
        encoder_layers=6,
        decoder_layers=6,
        queries=200,
        masks=100,
        text=text,
        memory=OFFICIAL_MEMORY if tracker else MemoryConfig(),
    )


def convert(
    checkpoint: Checkpoint,
    variant: str | None = None,
    context: int | None = None,
    table: str | None = None,
    tracker: bool = False,
) -> Imported:
    """The image part of a checkpoint as a student; the arguments are those of `recognise`.

    Args:
        tracker: import SAM 3's tracker too, as the student's memory.

    Raises:
        CheckpointError: an entry is missing, has another shape or is not known; there is no tracker, or SAM 3.1's.
    """
    recognised = recognise(checkpoint, variant, context, table)
    if tracker:
        need_tracker(checkpoint, recognised)
    config = official_config(recognised.variant, recognised.text, tracker)
    entries = Entries(checkpoint.tensors)
    student = Student(config)
    student.load_state_dict(student_state(entries, student, recognised.table), strict=True)
    left = entries.unused()
    if left:
        raise CheckpointError(
            f"{checkpoint.path} has {len(left)} entries that no layer of ours needs (first {left[0]}): "
            "it is of a model that esam3 does not know; nothing was imported"
        )
    # TinyViT gathers its attention biases once per mode: changing it makes it gather the new ones.
    student.train()
    student.eval().requires_grad_(False)
    used = len(checkpoint.tensors) - len(entries.skipped)
    return Imported(student, recognised, used, entries.skipped)


def student_state(entries: Entries, student: Student, table: str) -> State:
    """All weights of a student of neck sam3, from a checkpoint's entries.

    Args:
        table: one of `convert.text.TABLES`.
    """
    config, encoder = student.config, student.image_encoder
    channels = encoder.trunk.channels[-1]
    parts = {
        "image_encoder.trunk.": trunk_state(entries, TRUNK, encoder.trunk, config.variant),
        "image_encoder.neck.": head_state(entries, f"{VISION}trunk.model.head.", channels),
        "image_encoder.neck.pyramid.": pyramid_state(entries, f"{VISION}convs.", config.width),
        "text_encoder.": text_state(entries, TEXT, config.text, config.width, table),
        "detector.": detector_state(entries, "detector.", config),
    }
    if config.memory.kind != "none":
        parts["memory."] = tracker_state(entries, TRACKER, TRACKER_NECK, config)
    for prefix in OTHER_NECKS:
        entries.skip(entries.names(prefix), "a second neck, for the tracker and for clicks")
    entries.skip(entries.names(TRACKER), "the tracker: import it with --tracker, or track detections by overlap")
    return {prefix + name: value for prefix, state in parts.items() for name, value in state.items()}


def _common(names: list[str]) -> str:
    """What a group of names has in common, for people."""
    if len(names) == 1:
        return names[0]
    words = [name.split(".") for name in names]
    shared = [same[0] for same in zip(*words, strict=False) if len(set(same)) == 1]
    return ".".join([*shared, "*"])
