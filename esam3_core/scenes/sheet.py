# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of worlds: pictures with coloured outlines and one phrase per object."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from esam3_core.config import SceneConfig
from esam3_core.scenes.frame import SceneFrame
from esam3_core.scenes.world import World


def overlay(frame: SceneFrame) -> NDArray[np.uint8]:
    """The frame with tinted masks, outlines and the longest phrase of each object, uint8 [H, W, 3]."""
    picture = frame.image.copy()
    for instance in frame.instances:
        tone = np.array(colorsys.hsv_to_rgb(instance.id * 0.618 % 1, 0.9, 1.0)) * 255
        mask = frame.ids == instance.id
        picture[mask] = (0.75 * picture[mask] + 0.25 * tone).astype(np.uint8)
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, tone.tolist(), 1)
    for instance in frame.instances:
        if instance.area < 60:
            continue
        phrase = max(instance.phrases, key=lambda p: (p.count(" "), p.endswith(instance.kind)))
        x, y, _, _ = instance.box
        for width, ink in ((3, (0, 0, 0)), (1, (255, 255, 255))):
            cv2.putText(picture, phrase, (x, max(y - 3, 9)), cv2.FONT_HERSHEY_SIMPLEX, 0.36, ink, width, cv2.LINE_AA)
    return picture


def draw_sheet(config: SceneConfig, seed: int, count: int, columns: int, plain: bool = False) -> NDArray[np.uint8]:
    """`count` worlds, one frame each, in a grid.

    Raises:
        ValueError: when count or columns is below 1.
    """
    if count < 1 or columns < 1:
        raise ValueError("a sheet needs at least one picture and one column")
    cells = []
    for i in range(count):
        world = World(seed + i, replace(config))
        world.step()
        frame = world.step()
        cells.append(frame.image if plain else overlay(frame))
        world.close()
    blank = np.zeros_like(cells[0])
    cells += [blank] * (-count % columns)
    return np.concatenate([np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)])
