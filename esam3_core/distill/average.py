# SPDX-License-Identifier: Apache-2.0
"""The mean of two runs of which one went on from the other, or of two bundles with a common past.

It is often better than both (Wortsman et al., Robust fine-tuning of zero-shot models, section 3; Model soups, section
3).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from esam3_core.deploy.export import export_bundle, is_bundle
from esam3_core.deploy.weights import ADDED, bundle_student
from esam3_core.distill.checkpoint_file import CHECKPOINT, load_checkpoint, save_checkpoint
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import Bundle

Weights = dict[str, Tensor]


def average(first: Path, second: Path, out: Path, share: float) -> Path:
    """Write a run whose weights lie between those of two runs, or a bundle between two bundles.

    Such a run can be started from and exported, not gone on with. Such a bundle is the second one but for its weights;
    its memory has not learnt to see with the mean of the encoders (`esam3 export --memory`).

    Args:
        first: folder of a run, or of a bundle: what a run began with, or one with a common past. Its memory, exemplar
            encoder and refiner are left out where the second has none.
        second: of a run or a bundle, whose configuration is kept.
        out: folder without a run or a bundle.
        share: 0..1, of the second.

    Raises:
        FileNotFoundError: a folder holds neither checkpoint nor bundle.
        ValueError: the weights are different ones, `out` is taken, `share` is no share, or a run is to be added to a
            bundle.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"--share is {share}: it must lie in 0..1")
    if (out / CHECKPOINT).exists() or is_bundle(out):
        raise ValueError(f"{out} holds a {'bundle' if is_bundle(out) else 'run'}: choose a new folder")
    old, new = _read(first), _read(second)
    if is_bundle(second) and not is_bundle(first):
        raise ValueError(f"{second} is a bundle and {first} a run: name the run second")
    mean = _between(old["average"], new["average"], share, f"{first} and {second}")
    if is_bundle(second):
        return _write_bundle(mean, Bundle.load(first), Bundle.load(second), out, share)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(second / "config.yaml", out / "config.yaml")
    save_checkpoint({"step": new["step"], "average": mean}, out / CHECKPOINT)
    return out


def _between(old: Weights, new: Weights, share: float, whose: str) -> Weights:
    added = [key for key in old if key.startswith(ADDED) and key not in new]
    shapes = [{(key, value.shape) for key, value in weights.items() if key not in added} for weights in (old, new)]
    other = shapes[0] ^ shapes[1]
    if other:
        raise ValueError(
            f"{whose} are not of one student, as their weights differ in name or shape (such as {min(other)[0]}): "
            "take a run and one that went on from it, or bundles with a common past"
        )
    return {
        key: old[key] * (1 - share) + value * share if value.is_floating_point() else value
        for key, value in new.items()
    }


def _write_bundle(mean: Weights, first: Bundle, second: Bundle, out: Path, share: float) -> Path:
    student = Student(second.student).eval()
    student.load_state_dict(mean)
    told = {"of": [first.name, second.name], "share": share, "digests": [first.digest, second.digest]}
    provenance = {**second.provenance, "average": told}
    settings = (second.detector, second.tracker, provenance)
    concepts = list(dict.fromkeys((*first.concepts, *second.concepts)))
    return export_bundle(student, second.tokenizer, out, out.name, concepts, *settings, licence=second.licence)


def _read(folder: Path) -> dict[str, Any]:
    if is_bundle(folder):
        return {"average": bundle_student(Bundle.load(folder)).state_dict()}
    if not (folder / CHECKPOINT).is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: name the folder of a training run or a bundle")
    return load_checkpoint(folder / CHECKPOINT)

