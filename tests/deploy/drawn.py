# SPDX-License-Identifier: Apache-2.0
"""What tests of gates and measurements run on: the colour student with memory, and a clip it can follow."""

from __future__ import annotations

from pathlib import Path

import cv2

from esam3_core.deploy.gates import Clip
from tests.colour_bundle import draw_blobs

COUNT = 12  # frames


def write_clip(folder: Path) -> Clip:
    """Pictures of a red blob that moves and a blue one that stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(COUNT):
        image = draw_blobs([("red", 60 + 8 * index, 90, 30), ("blue", 250, 180, 25)], (240, 320))
        cv2.imwrite(str(folder / f"{index:03}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return Clip(str(folder), ("red", "blue"), COUNT, 2)
