# SPDX-License-Identifier: Apache-2.0
"""A measurement as a picture: a bar per engine and one for the whole frame. Plain SVG: a robot has no matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

WIDTH, LEFT, ROW, TOP = 760, 170, 34, 56  # pixels
NOTE = 150  # pixels for the numbers behind the longest bar


def as_svg(report: Mapping[str, Any]) -> str:
    """Bars to the median, whiskers to the 99th percentile, in ms."""
    rows = {"frame, end to end": report["frame"], **report["engines"]}
    longest = max(row["p99"] for row in rows.values())
    scale = (WIDTH - LEFT - NOTE) / longest if longest else 0.0
    height = TOP + ROW * len(rows) + 12
    title = f"{report['bundle']} with {report['backend']}, {report['machine'].get('cpu', '')}".rstrip(", ")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="22" font-size="15">{escape(title)}</text>',
        '<text x="12" y="40" fill="#666">ms: bar to the median, line to the 99th percentile</text>',
        *(_bar(TOP + ROW * index, name, row, scale) for index, (name, row) in enumerate(rows.items())),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bar(y: int, name: str, row: Mapping[str, float], scale: float) -> str:
    middle, end = y + 11, LEFT + row["p99"] * scale
    colour = "#b3541e" if name.startswith("frame") else "#2d6a9f"
    return (
        f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{LEFT}" y="{y}" width="{row["p50"] * scale:.1f}" height="22" fill="{colour}"/>'
        f'<path d="M{LEFT} {middle}H{end:.1f}M{end:.1f} {y + 5}V{y + 17}" stroke="#222"/>'
        f'<text x="{end + 8:.1f}" y="{y + 15}">{row["p50"]:g} (p99 {row["p99"]:g})</text>'
    )
