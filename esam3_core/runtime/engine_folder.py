# SPDX-License-Identifier: Apache-2.0
"""Where the TensorRT engines of a bundle lie, and which of them may be used here.

    <bundle>/engines/<gpu>-trt<version>/engines.json, <graph>-<digest>.engine, timing.cache

An engine belongs to one graph (by its sha256), one GPU and one version of TensorRT; `esam3 build` writes it.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from esam3_core.runtime.cuda import Gpu
from esam3_core.runtime.errors import EngineError

LISTING = "engines.json"
FORMAT = 1


@dataclass(frozen=True)
class BuiltEngine:
    """One engine as the listing describes it."""

    file: str
    graph_sha256: str  # of the ONNX file in the bundle
    engine_sha256: str
    precision: str
    kept: tuple[str, ...] = ()  # nodes left in single precision beside the rules
    largest: int = 0  # of the dynamic axis
    workspace: int = 0  # bytes
    level: int = 3
    seconds: float = 0.0  # it took to build


def engines_folder(bundle: Path, gpu: Gpu, version: str) -> Path:
    """Folder of the engines for one GPU and one TensorRT."""
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-") or "gpu"
    return bundle / "engines" / f"{name}-sm{gpu.capability.replace('.', '')}-trt{version}"


def read_listing(folder: Path, name: str = LISTING) -> dict[str, BuiltEngine]:
    """Graph -> engine; empty if nothing was built or the listing cannot be read."""
    try:
        listing = json.loads((folder / name).read_text(encoding="utf-8"))
        if listing["format"] != FORMAT:
            return {}
        return {graph: _entry(values) for graph, values in listing["engines"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_listing(
    folder: Path, gpu: Gpu, version: str, engines: dict[str, BuiltEngine], name: str = LISTING
) -> None:
    """Replace a listing in one step; engines in another one than LISTING are not used."""
    content = {
        "format": FORMAT,
        "gpu": asdict(gpu),
        "tensorrt": version,
        "engines": {graph: asdict(engine) for graph, engine in engines.items()},
    }
    draft = folder / f"{name}.draft"
    draft.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / name)


def find_engine(graph: Path, digest: str, gpu: Gpu, version: str) -> Path:
    """The engine of a graph of a bundle.

    Args:
        graph: the ONNX file.
        digest: its sha256.

    Raises:
        EngineError: there is none for this GPU, this TensorRT and this very graph; the message names the remedy.
    """
    bundle = graph.parent
    remedy = f"run `esam3 build {bundle}` on this machine, or use backend=onnxruntime"
    folder = engines_folder(bundle, gpu, version)
    engine = read_listing(folder).get(graph.stem)
    if engine is None:
        others = sorted(path.name for path in (bundle / "engines").glob("*-trt*") if path.is_dir() and path != folder)
        hint = f" (there are engines for {', '.join(others)}, which cannot be used here)" if others else ""
        here = f"{gpu.name} and TensorRT {version}"
        raise EngineError(f"{bundle} has no engine of {graph.stem} for {here}{hint}: {remedy}")
    if engine.graph_sha256 != digest:
        raise EngineError(f"the engine of {graph.stem} in {folder} was built from another bundle: {remedy}")
    path = folder / engine.file
    if not path.is_file():
        raise EngineError(f"{path} is missing: {remedy}")
    return path


def _entry(values: dict[str, Any]) -> BuiltEngine:
    return BuiltEngine(**{**values, "kept": tuple(values.get("kept", ()))})
