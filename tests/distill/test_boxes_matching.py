# SPDX-License-Identifier: Apache-2.0
"""Boxes and matching against brute force."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from esam3_core.distill.boxes import corners, generalised_iou
from esam3_core.distill.matching import BOX_COST, CLASS_COST, GIOU_COST, match

GRID = 20
"""Boxes with corners on a grid of this many cells have areas that can be counted."""


@st.composite
def grid_boxes(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 in cells, at least one wide and high."""
    x1, y1 = draw(st.integers(0, GRID - 1)), draw(st.integers(0, GRID - 1))
    return x1, y1, draw(st.integers(x1 + 1, GRID)), draw(st.integers(y1 + 1, GRID))


def to_centre(box: tuple[int, int, int, int]) -> Tensor:
    x1, y1, x2, y2 = (side / GRID for side in box)
    return torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])


def cells(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
    return set(itertools.product(range(box[0], box[2]), range(box[1], box[3])))


def counted_giou(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    hull = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    union = len(cells(a) | cells(b))
    return len(cells(a) & cells(b)) / union - (len(cells(hull)) - union) / len(cells(hull))


@given(grid_boxes(), grid_boxes())
def test_generalised_iou_equals_counting(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> None:
    ours = float(generalised_iou(to_centre(a), to_centre(b)))
    assert ours == pytest.approx(counted_giou(a, b), abs=1e-4)
    assert ours == pytest.approx(float(generalised_iou(to_centre(b), to_centre(a))))
    assert -1 <= ours <= 1 + 1e-6


def test_generalised_iou_of_boxes_without_area_is_finite() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.2, 0.2, 0.1, 0.0]], requires_grad=True)
    values = generalised_iou(boxes[:, None], boxes[None])
    values.sum().backward()
    assert torch.isfinite(values).all() and boxes.grad is not None and torch.isfinite(boxes.grad).all()


def test_corners_enclose_the_centre() -> None:
    assert corners(torch.tensor([0.5, 0.4, 0.2, 0.6])).tolist() == pytest.approx([0.4, 0.1, 0.6, 0.7])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(0, 4))
def test_matching_is_the_cheapest_of_all(seed: int, queries: int, instances: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    logits, boxes = torch.randn(1, queries, generator=rng), torch.rand(1, queries, 4, generator=rng)
    targets = [torch.rand(instances, 4, generator=rng)]
    ((rows, columns),) = match(logits, boxes, targets)
    assert len(rows) == len(columns) == min(queries, instances)
    assert len(set(rows.tolist())) == len(rows) and len(set(columns.tolist())) == len(columns)
    cost = costs(logits[0], boxes[0], targets[0])
    assert float(cost[rows, columns].sum()) == pytest.approx(cheapest(cost), abs=1e-4)


def costs(logits: Tensor, boxes: Tensor, target: Tensor) -> Tensor:
    distance = (boxes[:, None] - target[None]).abs().sum(-1)
    overlap = generalised_iou(boxes[:, None], target[None])
    return -CLASS_COST * logits.sigmoid()[:, None] + BOX_COST * distance - GIOU_COST * overlap


def cheapest(cost: Tensor) -> float:
    if cost.shape[0] < cost.shape[1]:
        cost = cost.t()
    orders = itertools.permutations(range(cost.shape[0]), cost.shape[1])
    return min(sum(float(cost[row, column]) for column, row in enumerate(order)) for order in orders)


def test_queries_that_are_no_number_are_matched_last() -> None:
    boxes = torch.tensor([[[float("nan")] * 4, [0.5, 0.5, 0.2, 0.2]]])
    ((rows, _),) = match(torch.zeros(1, 2), boxes, [torch.tensor([[0.5, 0.5, 0.2, 0.2]])])
    assert rows.tolist() == [1]
