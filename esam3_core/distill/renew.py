# SPDX-License-Identifier: Apache-2.0
"""A bundle written again: with another memory, size, calibration or thresholds, and everything else as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from esam3_core.config import from_dict, to_dict
from esam3_core.data.scenes import SceneShards
from esam3_core.deploy.export import check_place, export_bundle
from esam3_core.deploy.weights import bundle_student
from esam3_core.distill.release import SCENE_PICTURES, calibrated, with_memory, with_refiner
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.text import normalise_all

AS_THEY_ARE = ((1.0,), (1.0,))  # the weights that a bundle's first calibration chose


def renew(
    folder: Path,
    out: Path,
    name: str,
    size: int = 0,
    memory: Path | None = None,
    refiner: Path | None = None,
    tracker: Mapping[str, Any] | None = None,
    detector: Mapping[str, Any] | None = None,
    concepts: Sequence[str] = (),
    scenes: Path | None = None,
) -> Path:
    """Export a bundle once more.

    Args:
        folder: of the bundle; out: of the new one, the same if it shall be replaced; name: of the new one.
        size: S of the new one, pixels; 0 = as before.
        memory: folder of a run of stage 2 on this bundle's encoder; None = its own memory.
        refiner: folder of a run of the refiner, or of a bundle that has one; None = its own, if it has one.
        tracker, detector: settings that change.
        concepts: nouns that the new one claims to know beside its old ones.
        scenes: held-out scene shards, to calibrate its scores once more; None = they stay as they are.

    Raises:
        ValueError: the bundle's weights cannot be read back, or that memory was trained with another encoder.
        Esam3Error: if `out` holds something that is no bundle.
    """
    check_place(out)
    bundle = Bundle.load(folder)
    # A refiner that is replaced need not be readable: it may be of an older shape.
    student = bundle_student(bundle, refiner=refiner is None)
    provenance: dict[str, Any] = dict(bundle.provenance)
    if memory is not None:
        student, provenance["memory"] = with_memory(student, memory)
    if refiner is not None:
        student, provenance["refiner"] = with_refiner(student, refiner)
    if size:
        student.config = from_dict(type(student.config), to_dict(student.config) | {"size": size})
    settings = dataclasses.replace(bundle.detector, **dict(detector or {}))
    if scenes is not None:
        sources = [(SceneShards(scenes), SCENE_PICTURES)]
        told = calibrated(student, bundle.tokenizer, sources, settings, AS_THEY_ARE)
        settings, provenance["recalibration"] = told
    return export_bundle(
        student,
        bundle.tokenizer,
        out,
        name,
        list(dict.fromkeys((*bundle.concepts, *normalise_all(concepts)))),
        settings,
        dataclasses.replace(bundle.tracker, **dict(tracker or {})),
        provenance,
        licence=bundle.licence,
    )
