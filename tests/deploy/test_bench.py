# SPDX-License-Identifier: Apache-2.0
"""bench/student.py measures every graph of a bundle."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench" / "student.py"


def test_every_graph_is_measured(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bench.json"
    monkeypatch.setattr(sys, "argv", [str(BENCH), "--bundle", str(tiny_bundle), "--runs", "1", "--json", str(out)])
    runpy.run_path(str(BENCH), run_name="__main__")
    result = json.loads(out.read_text())
    assert {(row["graph"], row["threads"]) for row in result["graphs"]} == {
        (graph, threads) for graph in ("image_encoder", "text_encoder", "detector") for threads in (1, 2)
    }
    assert all(row["onnxruntime"] > 0 and row["torch"] > 0 for row in result["graphs"])
    assert [row["concepts"] for row in result["frames"]] == [1, 4, 8, 1, 4, 8]
    assert "frames/s" in capsys.readouterr().out
