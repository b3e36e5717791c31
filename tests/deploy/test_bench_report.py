# SPDX-License-Identifier: Apache-2.0
"""`esam3 bench` measures every engine of a bundle, end to end too, and compares two such reports."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import pytest

from esam3_core import cli
from esam3_core.config import RuntimeConfig
from esam3_core.deploy.bench import WARM_UP, compare, measure, resident_mb, summarise
from esam3_core.deploy.frames import frames
from esam3_core.deploy.gates import Clip
from esam3_core.deploy.tegrastats import summarise_lines
from esam3_core.runtime.bundle import Bundle

JETSON = [  # as JetPack 6 prints them
    "11-25-2026 10:00:00 RAM 3251/7620MB (lfb 4x2MB) SWAP 0/3810MB CPU [12%@1510,8%@1510] EMC_FREQ 24%@3199 "
    "GR3D_FREQ 87%@[918] VIC_FREQ 0% cpu@51.2C gpu@53.5C VDD_IN 9000mW/9000mW VDD_CPU_GPU_CV 3600mW/3600mW",
    "11-25-2026 10:00:01 RAM 3253/7620MB (lfb 4x2MB) SWAP 0/3810MB CPU [12%@1510,8%@1510] EMC_FREQ 26%@3199 "
    "GR3D_FREQ 89%@[918] VIC_FREQ 0% cpu@51.2C gpu@54.5C VDD_IN 11000mW/10000mW VDD_CPU_GPU_CV 3600mW/3600mW",
]


def test_every_engine_and_the_whole_frame_are_measured(
    colours: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", str(colours.folder), "--frames", "4", "--device", "cpu", "--concept", "red"]
    assert cli.main([*words, "--report", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "bench.json").read_text())
    assert report["frame"]["runs"] == report["clip"]["frames"] == 4
    assert {"image_encoder", "text_encoder", "detector"} <= set(report["engines"])
    assert all(0 < row["p50"] <= row["p95"] <= row["p99"] for row in report["engines"].values())
    assert report["engines"]["image_encoder"]["runs"] == 4  # warm-up is left out
    assert report["backend"] == "onnxruntime" and report["why not tensorrt"] == "device is cpu"
    assert report["machine"]["cpu"] and report["memory_mb"]["process"] > 10
    page = capsys.readouterr().out
    assert page == (tmp_path / "bench.md").read_text() + "\n"
    assert "| **frame, end to end** |" in page and "frames/s" in page and "Not TensorRT: device is cpu" in page
    bars = [one.text for one in ElementTree.parse(tmp_path / "bench.svg").iter() if one.get("text-anchor") == "end"]
    assert bars == ["frame, end to end", *report["engines"]]


def test_memory_is_that_of_the_student_and_not_of_the_clip(colours: Bundle, clip: Clip, tmp_path: Path) -> None:
    """A robot holds a frame at a time, however long the clip."""
    picture = cv2.imread(str(Path(str(clip.source)) / "000.png"))
    assert picture is not None
    cv2.imwrite(str(tmp_path / "000.png"), cv2.resize(picture, (1600, 1200)))
    for index in range(1, 30):
        (tmp_path / f"{index:03}.png").hardlink_to(tmp_path / "000.png")
    decoded = 30 * 1600 * 1200 * 3 / 1e6
    before = resident_mb()
    report = measure(colours, Clip(str(tmp_path), clip.concepts, 20), RuntimeConfig(device="cpu"))
    assert report["clip"]["frames"] == 20
    assert report["memory_mb"]["process"] - before < decoded / 2


def test_two_reports_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def report(ms: float) -> dict:
        row = {"p50": ms, "p95": ms, "p99": ms, "runs": 9}
        return {"bundle": "b", "backend": "x", "machine": {"machine": "m"}, "frame": row, "engines": {"detector": row}}

    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps(report(30.0)))
    after.write_text(json.dumps(report(12.0)))
    assert cli.main(["bench", "--compare", str(before), str(after)]) == 0
    assert "| detector | 30.0 | 12.0 | 2.50 |" in capsys.readouterr().out
    assert compare(report(1), report(2)).count("0.50") == 2


@pytest.mark.parametrize("content", ["", "[]", '{"frame": {}}'])
def test_what_is_no_report_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content)
    assert cli.main(["bench", "--compare", str(path), str(path)]) == 2
    assert "is not a report of `esam3 bench --report FOLDER`" in capsys.readouterr().err


def test_a_clip_that_only_warms_up_is_refused(colours: Bundle, clip: Clip) -> None:
    short = Clip(str(Path(str(clip.source)) / "000.png"), clip.concepts, 5)
    assert len(list(frames(short.source, WARM_UP))) == 1
    with pytest.raises(ValueError, match="1 frames, 10 of them only warm up: give a longer one"):
        measure(colours, short, RuntimeConfig(device="cpu"))


def test_quantiles_are_those_of_the_times() -> None:
    assert summarise(list(range(101))) == {"p50": 50, "p95": 95, "p99": 99, "runs": 101}


def test_power_clocks_and_temperature_are_read_from_tegrastats() -> None:
    assert summarise_lines(JETSON) == {
        "power (W)": 10.0, "gpu load (%)": 88.0, "gpu clock (MHz)": 918.0, "memory clock load (%)": 25.0,
        "gpu temperature (C)": 54.0, "ram (MB)": 3252.0,
    }  # fmt: skip
    assert summarise_lines([]) == {}
