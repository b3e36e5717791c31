# SPDX-License-Identifier: Apache-2.0
"""Our side of bench/official.py: a bundle in ONNX Runtime, in a process of its own."""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from official_upstream import serve

import esam3_core
from esam3_core.config import RuntimeConfig
from esam3_core.runtime.sources import read_image


class Ours:
    """A loaded bundle."""

    def __init__(self, bundle: str, threads: int) -> None:
        self.student = esam3_core.load(bundle, RuntimeConfig(device="cpu", threads=threads))

    def run(self, image: str, concepts: list[str], threshold: float) -> dict[str, Any]:
        """Find concepts; as `Upstream.run`."""
        picture = read_image(Path(image))
        self.student.detector = dataclasses.replace(self.student.detector, score_threshold=threshold)
        start, worked = time.perf_counter(), time.process_time()
        detections = self.student.segment(picture, concepts)
        seconds, processor = time.perf_counter() - start, time.process_time() - worked
        found = [[one for one in detections if one.concept == concept] for concept in concepts]
        stages = {name.replace("_", " "): spent / 1e3 for name, spent in self.student.timings.items()}
        return {
            "seconds": seconds,
            "processor": processor,
            "stages": stages,
            "found": [
                {
                    "scores": [one.score for one in ones],
                    "boxes": [[x, y, x + w, y + h] for x, y, w, h in (one.box for one in ones)],
                    "areas": [one.crop.area for one in ones],
                }
                for ones in found
            ],
        }


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"bench/official.py starts this, as: {sys.argv[0]} BUNDLE THREADS")
    serve(lambda: Ours(sys.argv[1], int(sys.argv[2])))
