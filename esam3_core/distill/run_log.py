# SPDX-License-Identifier: Apache-2.0
"""The log of a run: `log.jsonl`, one line per step, and the same as TensorBoard curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from esam3_core.distill.drafts import write_whole

TIMES = ("wait", "seconds")
"""Fields of a line that tell how long things took, in s; all others are the same whenever the run is repeated."""


class RunLog:
    """Writes a line and a point of every curve per step.

    Args:
        folder: of the run.
        step: the run goes on after this step; what a killed run wrote after its last checkpoint is taken out, as
            those steps come again.
        pictures: seen in one step, by all processes.
    """

    def __init__(self, folder: Path, step: int, pictures: int) -> None:
        self.path, self.pictures = folder / "log.jsonl", pictures
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        # The first `step` lines are those steps; only the last line of a log can be torn.
        write_whole(self.path, "".join(f"{line}\n" for line in lines[:step]))
        self.curves = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self.waited = self.worked = 0.0

    def add(self, step: int, terms: dict[str, float], rate: float, waited: float, worked: float) -> None:
        """One step: its losses, learning rate, and the seconds it waited for data and worked."""
        line: dict[str, Any] = {"step": step, **{k: round(v, 5) for k, v in terms.items()}}
        line |= {"wait": round(waited, 3), "seconds": round(worked, 3)}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in terms.items():
            self.curves.add_scalar(f"loss/{name}", value, step)
        self.curves.add_scalar("rate", rate, step)
        self.curves.add_scalar("speed/pictures_per_second", self.pictures / max(waited + worked, 1e-9), step)
        self.curves.add_scalar("speed/wait_share", waited / max(waited + worked, 1e-9), step)
        self.waited += waited
        self.worked += worked

    def picture(self, path: Path, step: int) -> None:
        """Show a picture file beside the curves."""
        import cv2

        image = cv2.imread(str(path)) if path.exists() else None
        if image is not None:
            self.curves.add_image("samples", image[:, :, ::-1], step, dataformats="HWC")

    def speed(self, steps: int) -> str:
        """Throughput since the process began, in words."""
        total = self.waited + self.worked
        if not steps or total <= 0:
            return "no step was left to do"
        return (
            f"{steps} steps, {steps * self.pictures / total:.2f} pictures/s, "
            f"{100 * self.waited / total:.1f} % of the time waiting for data"
        )

    def close(self) -> None:
        """Write what is still held back."""
        self.curves.close()
