# SPDX-License-Identifier: Apache-2.0
"""The mean of two runs of which one went on from the other: often better than both (Wortsman et al., Robust
fine-tuning of zero-shot models, section 3)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from esam3_core.deploy.export import is_bundle
from esam3_core.deploy.weights import ADDED, bundle_student
from esam3_core.distill.checkpoint_file import CHECKPOINT, load_checkpoint, save_checkpoint
from esam3_core.runtime.bundle import Bundle


def average(first: Path, second: Path, out: Path, share: float) -> Path:
    """Write a run whose weights lie between those of two runs; it can be started from and exported, not gone on with.

    Args:
        first: folder of a run, or of the bundle that a run began with: its memory, exemplar encoder and refiner are
            left out where the run has none. second: of a run, whose configuration is kept.
        out: folder without a run.
        share: 0..1, of the second run.

    Raises:
        FileNotFoundError: a folder holds no checkpoint.
        ValueError: the runs have different weights, `out` holds a run, or `share` is no share.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"--share is {share}: it must lie in 0..1")
    if (out / CHECKPOINT).exists():
        raise ValueError(f"{out} holds a run: choose a new folder")
    old, new = _read(first), _read(second)
    added = [key for key in old["average"] if key.startswith(ADDED) and key not in new["average"]]
    shapes = [
        {(key, value.shape) for key, value in state["average"].items() if key not in added} for state in (old, new)
    ]
    other = shapes[0] ^ shapes[1]
    if other:
        raise ValueError(
            f"{first} and {second} are not of one student, as their weights differ in name or shape (such as "
            f"{min(other)[0]}): take a run and one that went on from it"
        )
    mean = {
        key: old["average"][key] * (1 - share) + value * share if value.is_floating_point() else value
        for key, value in new["average"].items()
    }
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(second / "config.yaml", out / "config.yaml")
    save_checkpoint({"step": new["step"], "average": mean}, out / CHECKPOINT)
    return out


def _read(folder: Path) -> dict[str, Any]:
    if is_bundle(folder):
        return {"average": bundle_student(Bundle.load(folder)).state_dict()}
    if not (folder / CHECKPOINT).is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: name the folder of a training run")
    return load_checkpoint(folder / CHECKPOINT)

