# SPDX-License-Identifier: Apache-2.0
"""Export a student to a bundle: ONNX graphs, tokenizer and `student.yaml`.

Opset 18 and the dynamo exporter: the newest pair that TensorRT 10.3 parses without falling off its fast paths.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import onnx
import torch
import yaml

from esam3_core.config import BUNDLE_FORMAT, DetectorConfig, TrackerConfig, to_dict
from esam3_core.deploy.fused import OPSET, explain_fused
from esam3_core.deploy.graphs import GraphSpec, example_inputs, graphs_of
from esam3_core.deploy.half import round_to_half, store_half
from esam3_core.deploy.optimise import optimise
from esam3_core.deploy.presets import PER_TRACK
from esam3_core.nn.student import Student
from esam3_core.runtime.errors import Esam3Error

CARD = "student.yaml"  # what makes a folder a bundle
MAX_CONCEPTS = 64  # upper end of the axis of concepts or tracks


def export_bundle(
    student: Student,
    tokenizer: Path,
    folder: Path,
    name: str,
    concepts: list[str],
    detector: DetectorConfig | None = None,
    tracker: TrackerConfig | None = None,
    provenance: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    licence: str = "Apache-2.0",
    half: bool = True,
) -> Path:
    """Write a bundle; an existing one of that folder is replaced only when the new one is complete.

    Args:
        student: trained or random; it is not changed.
        tokenizer: a tokenizer.json whose ids fit `student.config.text`.
        folder: where the bundle shall lie.
        name: of the bundle.
        concepts: nouns that the bundle claims to know.
        half: round the weights to half precision and store them so; computing stays in single.

    Returns:
        The bundle's folder.

    Raises:
        FileNotFoundError: if the tokenizer is missing.
        Esam3Error: if something lies there that is no bundle; nothing is touched.
    """
    check_place(folder)
    if not tokenizer.is_file():
        raise FileNotFoundError(f"no tokenizer at {tokenizer}: train one or name another")
    folder.parent.mkdir(parents=True, exist_ok=True)
    student = prepare(student, half)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as scratch:
        draft = Path(scratch) / "new"
        draft.mkdir()
        graphs = {}
        for graph, spec in graphs_of(student.config).items():
            path = draft / f"{graph}.onnx"
            export_graph(student, graph, spec, path)
            store_half(path)
            graphs[graph] = {"file": path.name, "sha256": sha256(path)}
        shutil.copyfile(tokenizer, draft / "tokenizer.json")
        card = {
            "format": BUNDLE_FORMAT,
            "name": name,
            "licence": licence,
            "concepts": concepts,
            "student": to_dict(student.config),
            "detector": to_dict(detector or DetectorConfig()),
            "tracker": to_dict(tracker or TrackerConfig()),
            "graphs": graphs,
            "tokenizer": {"file": "tokenizer.json", "sha256": sha256(draft / "tokenizer.json")},
            "provenance": provenance or {},
            "metrics": metrics or {},
        }
        (draft / CARD).write_text(yaml.safe_dump(card, sort_keys=False))
        _put_in_place(draft, folder, Path(scratch) / "old")
    return folder


def is_bundle(folder: Path) -> bool:
    """Whether a folder is a bundle rather than, say, a training run."""
    return (folder / CARD).is_file()


def check_place(folder: Path) -> None:
    """See that a bundle may be written to a folder: nothing else lies there that would be lost.

    Raises:
        Esam3Error: it is no place for a bundle.
    """
    if folder.name in ("", ".."):
        raise Esam3Error(f"{folder} is where other things lie: name a new folder for the bundle")
    taken = folder.is_symlink() or (folder.exists() and not folder.is_dir())
    if taken or (folder.is_dir() and not (folder / CARD).is_file() and any(folder.iterdir())):
        raise Esam3Error(f"{folder} holds something that is no bundle: name a new folder")


def _put_in_place(draft: Path, folder: Path, old: Path) -> None:
    """Move a new bundle to its folder and what lay there to `old`: two renames, so that hardly a moment is without
    either, and nothing is deleted before the new one lies there."""
    check_place(folder)  # again: minutes have passed
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(draft, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise


def prepare(student: Student, half: bool = True) -> Student:
    """A copy for inference: evaluation mode, RepViT's training branches folded into single convolutions and, with
    `half`, weights rounded to half precision."""
    student = copy.deepcopy(student).eval().requires_grad_(False)
    for module in list(student.image_encoder.trunk.modules()):
        if hasattr(module, "fuse") and callable(module.fuse):
            _fold(student.image_encoder.trunk, module)
    if half:
        round_to_half(student)
    return student.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _fold(root: torch.nn.Module, module: torch.nn.Module) -> None:
    for parent in root.modules():
        for child_name, child in parent.named_children():
            if child is module:
                setattr(parent, child_name, module.fuse())  # type: ignore[operator]
                return


def export_graph(student: Student, graph: str, spec: GraphSpec, path: Path) -> None:
    """Trace one graph and write it as a single ONNX file."""
    inputs = example_inputs(graph, student.config)
    axis = torch.export.Dim("tracks" if graph in PER_TRACK else "concepts", min=1, max=MAX_CONCEPTS)
    dynamic = {name: ({0: axis} if name in spec.concept_inputs else None) for name in inputs}
    module = spec.build(student).eval()
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(
            module,
            args=(),
            kwargs=inputs,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(spec.outputs),
            dynamic_shapes=dynamic if spec.concept_inputs else None,
            external_data=False,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    optimise(program.model)
    explain_fused(program.model)
    program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path))


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
