# SPDX-License-Identifier: Apache-2.0
"""A checkpoint file as tensors under official names, whatever it is wrapped in. Nothing in a file is ever run."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from esam3_core.convert.file_kind import AGAIN, check_file
from esam3_core.runtime.errors import CheckpointError

DEPTH = 3  # of dictionaries within each other
PREFERRED = ("model", "state_dict")  # of two wrapped models that are equally large
DETECTOR = ("backbone.", "transformer.", "geometry_encoder.", "dot_prod_scoring.", "segmentation_head.")
WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.|model\.|detector\.)+")
TRACKERS = re.compile(r"^(?:module\.|_orig_mod\.|model\.)*(?:tracker\.|inst_interactive_predictor\.model\.)")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds."""

    path: Path
    tensors: dict[str, Tensor]  # official name ("detector." or "tracker." first) -> tensor
    notes: dict[str, Any] = field(default_factory=dict)  # the file's "meta": text_context_length, ...
    beside: tuple[str, ...] = ()  # what else the file has and nobody reads: optimizer, epoch, ...


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Read a .pt, .pth or .safetensors file; large tensors stay on disk until they are used.

    Raises:
        CheckpointError: the file is missing, cut short, damaged, of another kind or holds more than tensors and plain
            values; the message says what it is and what to do.
    """
    path = Path(path)
    kind = check_file(path)
    content = _load_safetensors(path) if kind == "safetensors" else _load_torch(path, mapped=kind == "zip")
    found = max(_models(content), key=lambda model: (len(model[1]), model[0] in PREFERRED), default=None)
    if found is None:
        raise CheckpointError(f"{path} holds no tensors: give a checkpoint of EfficientSAM3 or SAM 3")
    name, tensors = found
    notes = content.get("meta")
    beside = tuple(str(key) for key in content if name and key not in (name.split(".")[0], "meta"))
    return Checkpoint(path, official_names(tensors), dict(notes) if isinstance(notes, Mapping) else {}, beside)


def official_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with what wraps their names taken off: "module.", "_orig_mod.", "student_trunk.", a missing "detector.".

    Raises:
        CheckpointError: two different tensors would get one name.
    """
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        official = _official(name)
        if official in named and not torch.equal(named[official], value):
            raise CheckpointError(f"the checkpoint has {official} twice, with different values: {AGAIN}")
        named[official] = value
    return named


def _official(name: str) -> str:
    name = name.replace("student_trunk.", "").replace("_orig_mod.", "")
    if TRACKERS.match(name):
        return TRACKERS.sub("tracker.", name)
    bare = WRAPPERS.sub("", name)
    return f"detector.{bare}" if bare.startswith(DETECTOR) else name


def _models(content: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every dictionary of named tensors within the content of a file, with the name that it has there."""
    if not isinstance(content, Mapping) or depth > DEPTH:
        return
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if tensors:
        yield name, tensors
    for key, value in content.items():
        yield from _models(value, f"{name}.{key}" if name else str(key), depth + 1)


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except Exception as error:  # safetensors raises its own type, which it does not export everywhere
        raise CheckpointError(f"{path} is damaged ({error}): {AGAIN}") from error


def _load_torch(path: Path, mapped: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} {_reason(str(error))}") from error
    except (RuntimeError, EOFError, ValueError, KeyError, AttributeError, IndexError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is cut short or damaged ({first}): {AGAIN}") from error


def _reason(message: str) -> str:
    """Why torch refused to read a pickle."""
    named = re.search(r"GLOBAL (\S+) (?:was not an allowed global|whose module)", message)
    if not named:
        return f"is cut short, damaged or no PyTorch checkpoint: {AGAIN}"
    whose = named[1].split(".")[0]
    if whose == "ultralytics":
        return "is a YOLO model of ultralytics: give a checkpoint of EfficientSAM3"
    return (
        f"holds Python objects ({named[1]}) beside its weights, which could run code and are not read: give the "
        "released checkpoint, or save its state_dict alone"
    )
