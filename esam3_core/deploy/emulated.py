# SPDX-License-Identifier: Apache-2.0
"""The closed loop with graphs that round as a precision would, on a machine without a GPU."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import onnx

from esam3_core.deploy.gates import REFERENCE, Clip, Finding
from esam3_core.deploy.loop import Loop
from esam3_core.deploy.search import Candidate
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import Engine, OnnxEngine

REMEMBERED = 3  # engines of a graph that stay loaded: most of a search asks for the same ones again


class EmulatedLoop:
    """A bundle on a clip, its graphs computing in a precision but for any nodes left out of it."""

    def __init__(self, bundle: Bundle, clip: Clip, candidates: Mapping[str, Candidate]) -> None:
        """`candidates` has one for every graph of the bundle."""
        self._loop = Loop(bundle, clip)
        self._candidates = candidates
        self._engine = functools.lru_cache(REMEMBERED * len(candidates))(self._load)

    def judge(self, kept: Mapping[str, Collection[str]]) -> Finding:
        """The gate, with these nodes of each graph left out.

        Raises:
            ValueError: neither tracker shows anything in the whole clip.
        """
        engines = {graph: self._engine(graph, frozenset(kept.get(graph, ()))) for graph in self._candidates}

        def replace(path: Path, _: Engine) -> Engine:
            return engines[path.stem]

        return self._loop.judge(watch=replace)

    def _load(self, graph: str, kept: frozenset[str]) -> OnnxEngine:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"{graph}.onnx"
            onnx.save(self._candidates[graph].emulated(kept), str(path))
            return OnnxEngine(path, REFERENCE)
