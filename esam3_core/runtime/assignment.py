# SPDX-License-Identifier: Apache-2.0
"""Who belongs to whom: the assignment of greatest total likeness.

SciPy solves it too, but importing that took half of all the time that a node needs to import anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def assign(likeness: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs of rows and columns, each in one pair at most, of greatest total likeness; sorted by row.

    Args:
        likeness: [R, C] >= 0. Pairs of likeness 0 are left out.
    """
    if likeness.size == 0:
        return []
    best = likeness.argmax(axis=1)
    rows = np.flatnonzero(likeness.max(axis=1) > 0)
    if len(set(best[rows].tolist())) == rows.size:  # nobody wants what another wants
        return list(zip(rows.tolist(), best[rows].tolist(), strict=True))
    if likeness.shape[0] <= likeness.shape[1]:
        pairs = list(enumerate(_hungarian(-likeness)))
    else:
        pairs = sorted((row, column) for column, row in enumerate(_hungarian(-likeness.T)))
    return [(row, column) for row, column in pairs if likeness[row, column] > 0]


def _hungarian(cost: NDArray[np.float64]) -> list[int]:
    """The column of each row, of least total cost [R, C], R <= C.

    Rows come in one after the other, each by the cheapest path of changes (Jonker and Volgenant 1987): O(R^2 C).
    """
    count, width = cost.shape
    # Column `width` is where a row waits that comes in.
    row_price, column_price = np.zeros(count), np.zeros(width + 1)
    owner = np.full(width + 1, -1)  # [C + 1] row of each column
    for row in range(count):
        owner[width], column = row, width
        reach, before = np.full(width, np.inf), np.full(width, width)  # cost of the way to a column, and the one before
        seen = np.zeros(width + 1, np.bool_)
        while owner[column] >= 0:
            seen[column] = True
            here = owner[column]
            step = cost[here] - row_price[here] - column_price[:width]
            shorter = ~seen[:width] & (step < reach)
            reach[shorter], before[shorter] = step[shorter], column
            open_reach = np.where(seen[:width], np.inf, reach)
            column = int(open_reach.argmin())
            further = open_reach[column]
            row_price[owner[seen]] += further
            column_price[seen] -= further
            reach -= further
        while column != width:
            owner[column], column = owner[before[column]], before[column]
    columns = np.empty(count, np.int64)
    taken = np.flatnonzero(owner[:width] >= 0)
    columns[owner[taken]] = taken
    return [int(column) for column in columns]
