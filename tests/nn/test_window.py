# SPDX-License-Identifier: Apache-2.0
"""Windows cut out of a frame what lies in them, and a memory that looks into one sees what it would see there."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from esam3_core.config import StudentConfig
from esam3_core.nn.memory import Memory, Remembered, Sighting
from esam3_core.nn.window import Windows
from tests.nn.test_memory import TRACKS, build, inputs_of, student_with

GRID = (5, 6)
CORNERS = torch.tensor([[0, 0], [2, 3], [1, 2]])
SIDE = 3


@pytest.mark.parametrize("frames", [1, 3])
def test_a_window_holds_its_part_of_a_map(frames: int) -> None:
    windows = Windows(CORNERS, SIDE, GRID)
    for split in (1, 2, 4):
        fine = torch.rand(frames, 2, split * GRID[0], split * GRID[1])
        cut = windows.fine(fine, split)
        for track, (row, column) in enumerate((split * CORNERS).tolist()):
            part = fine[track % frames, :, row : row + split * SIDE, column : column + split * SIDE]
            assert torch.equal(cut[track], part)


def test_tokens_and_waves_are_those_of_the_windows_cells() -> None:
    windows = Windows(CORNERS, SIDE, GRID)
    tokens = torch.rand(1, GRID[0] * GRID[1], 4)
    as_map = tokens.transpose(1, 2).unflatten(2, GRID)
    expected = windows.fine(as_map, 1).flatten(2).transpose(1, 2)
    assert torch.equal(windows.tokens(tokens), expected)
    assert torch.equal(windows.waves(tokens.expand(2, -1, -1))[1], expected)


def test_put_back_into_the_frame_nothing_else_is_there() -> None:
    windows = Windows(CORNERS, SIDE, GRID)
    fine = torch.rand(3, 1, 4 * GRID[0], 4 * GRID[1])
    rows = windows.fine(fine, 4).flatten(2).transpose(1, 2)
    whole = windows.whole(rows, 4, -1.0)[..., 0].unflatten(1, fine.shape[2:])
    assert torch.equal(whole[whole >= 0].sort().values, rows.flatten().sort().values)
    assert torch.equal(whole[whole >= 0], fine[:, 0][whole >= 0])


def look_near(memory: Memory, inputs: dict[str, torch.Tensor], side: int) -> Sighting:
    held = Remembered(*(inputs[field.name] for field in dataclasses.fields(Remembered)))
    grid = (inputs["p16"].shape[2], inputs["p16"].shape[3])
    corner = torch.zeros(TRACKS, 2, dtype=torch.int64)
    with torch.no_grad():
        return memory.propagate_near(inputs["p16"], inputs["p8"], inputs["p4"], held, Windows(corner, side, grid))


def test_a_window_of_the_whole_frame_shows_what_the_frame_shows(tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config)
    memory = build(config)
    inputs = inputs_of(config)
    inputs["memory_used"][:, 0] = True  # whoever is looked for in a window remembers something
    held = Remembered(*(inputs[field.name] for field in dataclasses.fields(Remembered)))
    nobody = torch.full_like(inputs["point_labels"], -1)
    with torch.no_grad():
        whole = memory.propagate(inputs["p16"], inputs["p8"], inputs["p4"], held, inputs["points"], nobody)
    near = look_near(memory, inputs, config.grid)
    for name in ("masks", "iou", "objectness", "pointer", "tokens"):
        torch.testing.assert_close(getattr(near, name), getattr(whole, name), msg=name)


def test_a_dense_memory_looks_into_no_window(tiny_config: StudentConfig) -> None:
    with pytest.raises(ValueError, match="set near: false"):
        student_with(tiny_config, kind="dense", near=True)
