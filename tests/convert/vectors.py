# SPDX-License-Identifier: Apache-2.0
"""Parity vectors: checkpoints regenerated from the names of their entries, and what upstream computes with them."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from esam3_core.convert.checkpoint import Checkpoint
from esam3_core.convert.official import Imported, convert

FOLDER = Path(__file__).parents[3] / "shared" / "vectors"
VARIANTS = tuple(f"{trunk}__mobileclip_s0_ctx16" for trunk in ("efficientvit_b1", "repvit_m1_1", "tinyvit_11m"))
SAMPLED = 4096  # values kept of a larger array
RELATIVE = 1e-3
TOLERANCES = {
    "text_features": 1e-4, "geometry_tokens": 5e-4, "obj_ptr": 2e-3, "first_reference": 1e-5,
    "pred_logits": 1e-3, "presence_logit": 1e-3, "pred_boxes": 3e-4, "scores": 3e-4,
    "object_score_logits": 1e-3, "sam_object_score": 1e-3, "sam_ious": 1e-3,
    "top5_masks": 1e-2, "masks_all": 1e-2, "mask_low_res": 1e-2, "sam_all_masks": 1e-2,
}  # fmt: skip
"""Name of an array (behind "frameN_") -> how far ours may be off, absolute; others: `OF_DEVIATION`."""
OF_DEVIATION = 5e-3  # share of the array's standard deviation

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


def imported(variant: str, tracker: bool = False) -> Imported:
    """The student of a regenerated checkpoint."""
    return convert(Checkpoint(Path(f"{variant}.pt"), tensors(shapes(variant))), tracker=tracker)


def expected(variant: str, part: str) -> dict[str, NDArray]:
    """What upstream computes: part is vision, text0, text1, box, tracker_..."""
    with np.load(FOLDER / "visible" / f"{variant}.{part}.npz") as arrays:
        return dict(arrays)


def excess(name: str, ours: Any, wanted: dict[str, NDArray]) -> float:
    """How far ours is off, in units of what is allowed: 1 is the limit.

    Args:
        name: of an array of the vectors, of which `wanted` may hold a sample.
    """
    theirs = wanted[name].astype(np.float32).reshape(-1)
    found = np.asarray(ours, np.float32).reshape(-1)
    if found.size != theirs.size:
        found = found[(np.arange(SAMPLED, dtype=np.int64) * 1000003) % found.size]
    plain = name.split("_", 1)[1] if name.startswith("frame") else name
    allowed = TOLERANCES.get(plain)
    allowed = OF_DEVIATION * float(wanted[f"{name}_stats"][1]) if allowed is None else allowed
    return float((np.abs(found - theirs) / (allowed + RELATIVE * np.abs(theirs))).max())


def ellipse() -> Tensor:
    """The mask that starts the tracker's runs: 0 and 1, [1, 1152, 1152]."""
    y, x = np.mgrid[0:1152, 0:1152]
    inside = ((x - 500) * 260) ** 2 + ((y - 520) * 210) ** 2 <= (210 * 260) ** 2
    return torch.from_numpy(inside.astype(np.float32))[None]
