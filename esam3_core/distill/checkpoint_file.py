# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of our own runs, from disk."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

CHECKPOINT = "last.pt"  # in the folder of a run


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What a run has saved, on the CPU; see `Fit.save`.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is something else, or is cut short.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError, ValueError) as error:
        raise _wrong(path) from error
    if not isinstance(state, dict) or "average" not in state:
        raise _wrong(path)
    return state


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write what `load_checkpoint` reads; a kill or a full disk leaves what was there before.

    Raises:
        OSError, RuntimeError: it cannot be written; torch raises either where a disk is full.
    """
    draft = path.with_suffix(".tmp")
    try:
        torch.save(state, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)  # a full disk must not stay full of half a checkpoint


def _wrong(path: Path) -> ValueError:
    return ValueError(f"{path} is no checkpoint of a run, or is cut short: restore it, or delete it and train again")
