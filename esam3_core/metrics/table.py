# SPDX-License-Identifier: Apache-2.0
"""Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def markdown_table(head: Sequence[str], rows: Mapping[str, Sequence[float]]) -> str:
    """A table whose first column is text; numbers have one decimal, counts (int) none, nan is a dash."""
    body = [[name, *(_cell(value) for value in values)] for name, values in rows.items()]
    ruler = ["---", *["---:"] * (len(head) - 1)]
    return "".join("| " + " | ".join(row) + " |\n" for row in ([*head], ruler, *body))


def _cell(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if math.isfinite(value) else "-"
