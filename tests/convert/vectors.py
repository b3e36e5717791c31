# SPDX-License-Identifier: Apache-2.0
"""Parity vectors: checkpoints regenerated from the names of their entries, and what upstream computes with them."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

FOLDER = Path(__file__).parents[3] / "shared" / "vectors"
VARIANTS = tuple(f"{trunk}__mobileclip_s0_ctx16" for trunk in ("efficientvit_b1", "repvit_m1_1", "tinyvit_11m"))

needs_vectors = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the parity vectors are not at {FOLDER}")


@cache
def rule() -> ModuleType:
    """The rule that makes weights out of names."""
    spec = importlib.util.spec_from_file_location("fill", FOLDER / "fill.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shapes(variant: str) -> dict[str, list[int]]:
    """Official name -> shape of every entry of a checkpoint."""
    return json.loads((FOLDER / "visible" / f"{variant}.keys.json").read_text())


def tensors(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """The weights for these names and shapes."""
    return {name: torch.from_numpy(np.array(rule().fill(name, shape))) for name, shape in shapes.items()}


def expected(variant: str, part: str) -> dict[str, NDArray]:
    """What upstream computes: part is vision, text0, text1, box, tracker_..."""
    with np.load(FOLDER / "visible" / f"{variant}.{part}.npz") as arrays:
        return dict(arrays)
