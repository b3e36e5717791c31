# SPDX-License-Identifier: Apache-2.0
"""The gates that a graph has to pass before a robot relies on it, each against the bundle's own graph in ONNX Runtime.

    onnx     the torch student says the same as the graph                      closeness >= 0.9999 per output
    typed    the graph, rounding as its precision would, says the same          closeness >= 0.999 per output
    engine   the TensorRT engine says the same                                  closeness >= 0.999 per output
    loop     a tracker with it draws the same masks over >= 100 frames          mean IoU >= 0.97

Every graph is judged alone, fed with what the reference fed it while it tracked real frames; only the loop (`loop.py`)
lets errors come round again, which is where a half-precision tracker fails although each of its graphs is fine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.agreement import agreement
from esam3_core.deploy.frames import CONCEPTS, frames
from esam3_core.deploy.watched import Feeds, Recorder
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import Engine, OnnxEngine, watching
from esam3_core.runtime.exemplars import Exemplar
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.student import Student
from esam3_core.runtime.track import Track

LEAST = {"onnx": 0.9999, "typed": 0.999, "engine": 0.999, "loop": 0.97}
REFERENCE = RuntimeConfig(backend="onnxruntime", device="cpu")
Run = Callable[[Feeds], Mapping[str, Any]]


@dataclass(frozen=True)
class Clip:
    """What gates are run on."""

    source: str | None = None  # None: our own pictures
    concepts: tuple[str, ...] = CONCEPTS
    frames: int = 120  # of the loop
    runs: int = 6  # of each graph alone


@dataclass(frozen=True)
class Finding:
    """How one output of one graph did at one gate."""

    gate: str
    graph: str
    output: str
    worst: float  # of all runs
    mean: float
    runs: int
    note: str = ""  # what else was seen

    @property
    def passed(self) -> bool:
        """Whether it is good enough: at its worst for single graphs, on average for the loop."""
        return (self.mean if self.gate == "loop" else self.worst) >= LEAST[self.gate]


def record(bundle: Bundle, clip: Clip) -> dict[str, list[Feeds]]:
    """Graph -> what it was fed while the reference tracked the clip, spread over its first half.

    Where exemplars can be shown, the best track of each frame that is left is shown as one.
    """
    recorder = Recorder(clip.runs, every=max(1, clip.frames // (2 * clip.runs)))
    with watching(recorder.watch):
        student = Student(bundle, REFERENCE)
        tracker = student.track(clip.concepts)
        shown: list[tuple[Image, Exemplar]] = []
        for stamp, image in frames(clip.source, clip.frames // 2 + 1):
            tracks = tracker.step(image, stamp)
            shown.append((image, _exemplar(image, tracks, clip.concepts[0])))
        recorder.every = 1
        for image, exemplar in shown[-clip.runs :] if "exemplar_encoder" in bundle.graphs else ():
            student.segment(image, (), [exemplar])
    return dict(recorder.feeds)


def _exemplar(image: Image, tracks: Sequence[Track], concept: str) -> Exemplar:
    """The best track that can be seen, or else the middle of the frame as a `concept`."""
    seen = [track for track in tracks if track.crop.area]
    if seen:
        best = max(seen, key=lambda track: track.score)
        return Exemplar(best.box, concept=best.concept)
    height, width = image.shape[:2]
    return Exemplar((width / 4, height / 4, width / 2, height / 2), concept=concept)


def judge(gate: str, graph: str, reference: Run, candidate: Run, feeds: Sequence[Feeds]) -> list[Finding]:
    """One finding per output of a graph."""
    values: dict[str, list[float]] = {}
    for feed in feeds:
        for name, value in agreement(reference(feed), candidate(feed)).items():
            values.setdefault(name, []).append(value)
    return [
        Finding(gate, graph, name, float(np.min(found)), float(np.mean(found)), len(found))
        for name, found in values.items()
    ]


def run_engine(engine: Engine) -> Run:
    """A call of an engine, all outputs as arrays."""
    return lambda feeds: engine.run(feeds)


def run_graph(path: Path) -> Run:
    """A call of an ONNX graph in ONNX Runtime on the CPU."""
    return run_engine(OnnxEngine(path, REFERENCE))
