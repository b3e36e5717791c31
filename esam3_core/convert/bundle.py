# SPDX-License-Identifier: Apache-2.0
"""From an official checkpoint to a bundle that a robot runs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from esam3_core.config import DetectorConfig
from esam3_core.convert.checkpoint import open_checkpoint
from esam3_core.convert.official import Imported, convert
from esam3_core.convert.releases import LICENCE
from esam3_core.convert.tokenizer import build_clip_tokenizer
from esam3_core.deploy.export import check_place, export_bundle, sha256
from esam3_core.nn.student import Student

AS_UPSTREAM = DetectorConfig(min_area=1, duplicate_iou=1.0)
"""Upstream keeps every query above the threshold, however small and however much it overlaps another."""


@dataclass(frozen=True)
class BundleMade:
    """Where the bundle is and what it was made of."""

    folder: Path
    imported: Imported


def import_checkpoint(path: Path, folder: Path, variant: str | None = None, tracker: bool = False) -> BundleMade:
    """Make a bundle out of a checkpoint; an existing one of that folder is replaced when the new one is complete.

    Args:
        path: a .pt, .pth or .safetensors file of EfficientSAM3.
        folder: where the bundle shall lie; its name is the bundle's.
        variant: what the checkpoint should be, key of `config.TRUNKS`; None = whatever it is.
        tracker: import SAM 3's tracker too, so that tracks remember.

    Raises:
        CheckpointError: the file is something else; the message says what it is and what to do.
        Esam3Error: the folder holds something that is no bundle.
    """
    check_place(folder)
    imported = convert(open_checkpoint(path), variant, tracker=tracker)
    provenance = {
        "checkpoint": path.name,
        "checkpoint_sha256": sha256(path),
        "model": imported.recognised.describe(),
        "entries_used": imported.used,
        "entries_left_out": len(imported.skipped),
    }
    return BundleMade(export_official(imported.student, folder, provenance), imported)


def export_official(student: Student, folder: Path, provenance: dict[str, object]) -> Path:
    """Write the bundle of an imported student, its weights in full precision."""
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = Path(scratch) / "tokenizer.json"
        build_clip_tokenizer(student.config.text.context).save(str(tokenizer))
        return export_bundle(
            student, tokenizer, folder, folder.name, concepts=[], detector=AS_UPSTREAM, provenance=provenance,
            licence=LICENCE, half=False,
        )  # fmt: skip
