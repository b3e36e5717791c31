# SPDX-License-Identifier: Apache-2.0
"""Power, clocks and temperature of a Jetson while something runs, from NVIDIA's tegrastats; silent elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from statistics import mean
from types import TracebackType

PERIOD = 200  # ms
PATTERNS = {
    "power (W)": (re.compile(r"(?:VDD_IN|VIN_SYS_5V0|VIN) (\d+)mW"), 1e-3),
    "gpu load (%)": (re.compile(r"GR3D_FREQ (\d+)%"), 1.0),
    "gpu clock (MHz)": (re.compile(r"GR3D_FREQ \d+%@\[?(\d+)"), 1.0),
    "memory clock load (%)": (re.compile(r"EMC_FREQ (\d+)%"), 1.0),
    "gpu temperature (C)": (re.compile(r"(?:GPU|gpu)@([\d.]+)C"), 1.0),
    "ram (MB)": (re.compile(r"RAM (\d+)/"), 1.0),
}


class Tegrastats:
    """Samples during a `with` block."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._lines: list[str] = []

    def __enter__(self) -> Tegrastats:
        program = shutil.which("tegrastats")
        if program:
            command = [program, "--interval", str(PERIOD)]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self._thread = threading.Thread(target=self._read, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process and self._thread:
            self._process.terminate()
            self._process.wait(5)
            self._thread.join(5)

    def summary(self) -> dict[str, float]:
        """Means over the block; empty if this is no Jetson."""
        return summarise_lines(self._lines)

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        self._lines.extend(self._process.stdout)


def summarise_lines(lines: list[str]) -> dict[str, float]:
    """Means of what lines of tegrastats say."""
    found = {
        name: [float(match[1]) * scale for line in lines if (match := pattern.search(line))]
        for name, (pattern, scale) in PATTERNS.items()
    }
    return {name: round(mean(values), 2) for name, values in found.items() if values}
