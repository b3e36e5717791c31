# SPDX-License-Identifier: Apache-2.0
"""The procedural tabletop world: training data, simulated camera and ground truth."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

os.environ.setdefault("MUJOCO_GL", "egl")  # MuJoCo reads it when it is imported
os.environ.setdefault("LP_NUM_THREADS", "1")  # llvmpipe: one renderer per core beats threads that share cores

if TYPE_CHECKING:
    from esam3_core.scenes.frame import Instance, SceneFrame
    from esam3_core.scenes.world import World, demo_config

__all__ = ["Instance", "SceneFrame", "World", "demo_config"]

_HOMES = {"World": "world", "demo_config": "world", "SceneFrame": "frame", "Instance": "frame"}


def __getattr__(name: str) -> Any:
    """Import MuJoCo only when the world is used: the vocabulary alone needs nothing but Python."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
