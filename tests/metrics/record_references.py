# SPDX-License-Identifier: Apache-2.0
"""Ask the reference implementations about the random cases, and keep their numbers in references.json.

    python -m tests.metrics.record_references --davis DIR --trackeval DIR --sam3 DIR

DAVIS: github.com/davisvideochallenge/davis2017-evaluation; TrackEval: the unpacked wheel of `trackeval` (1.3.0);
SAM 3: github.com/facebookresearch/sam3. None of them is needed to run the tests: these compare with the numbers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np

from tests.metrics.random_cases import CASES, gold_case, mask_pairs, track_cases

OUT = Path(__file__).with_name("references.json")
HOTA = ("HOTA", "DetA", "AssA", "DetRe", "DetPr", "AssRe", "AssPr", "LocA", "OWTA")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("davis", "trackeval", "sam3"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    arguments = parser.parse_args()
    references = {
        "davis": record_davis(arguments.davis),
        "hota": record_hota(arguments.trackeval),
        "cgf1": record_cgf1(arguments.sam3),
    }
    OUT.write_text(json.dumps(references, indent=1) + "\n")


def record_davis(folder: Path) -> dict[str, Any]:
    """J and F of single masks; mean, recall and decay of them as one long clip."""
    disc = types.ModuleType("skimage.morphology")  # the one function of scikit-image that DAVIS calls

    def disk(radius: float) -> np.ndarray:
        axis = np.arange(-radius, radius + 1)
        return (axis[:, None] ** 2 + axis[None] ** 2 <= radius**2).astype(np.uint8)

    disc.disk = disk  # type: ignore[attr-defined]
    sys.modules.update({"skimage": types.ModuleType("skimage"), "skimage.morphology": disc})
    metrics = load(folder / "davis2017" / "metrics.py", "davis_metrics")
    sys.path.insert(0, str(folder))
    from davis2017.utils import db_statistics  # type: ignore[import-not-found]

    j = [float(metrics.db_eval_iou(truth, found)) for found, truth in mask_pairs()]
    f = [float(metrics.db_eval_boundary(truth, found)) for found, truth in mask_pairs()]
    statistics = [[float(value) for value in db_statistics(np.array(values))] for values in (j, f)]
    return {"j": j, "f": f, "statistics": statistics}


def record_hota(folder: Path) -> dict[str, Any]:
    """HOTA of every case, and of all together."""
    package = types.ModuleType("trackeval")  # without its data sets, which want more libraries
    package.__path__ = [str(folder / "trackeval")]  # type: ignore[attr-defined]
    metrics = types.ModuleType("trackeval.metrics")
    metrics.__path__ = [str(folder / "trackeval" / "metrics")]  # type: ignore[attr-defined]
    sys.modules.update({"trackeval": package, "trackeval.metrics": metrics})
    from trackeval.metrics.hota import HOTA as Reference  # type: ignore[import-not-found]

    reference = Reference()
    results = {}
    for index, case in enumerate(track_cases()):
        objects = sorted({n for rows, _, _ in case.frames for n in rows})
        tracks = sorted({n for _, columns, _ in case.frames for n in columns})
        data = {
            "num_gt_ids": len(objects),
            "num_tracker_ids": len(tracks),
            "num_gt_dets": sum(len(rows) for rows, _, _ in case.frames),
            "num_tracker_dets": sum(len(columns) for _, columns, _ in case.frames),
            "gt_ids": [np.array([objects.index(n) for n in rows], int) for rows, _, _ in case.frames],
            "tracker_ids": [np.array([tracks.index(n) for n in columns], int) for _, columns, _ in case.frames],
            "similarity_scores": [similarity for _, _, similarity in case.frames],
        }
        results[str(index)] = reference.eval_sequence(data)
    together = reference.combine_sequences(results)
    means = [{name: float(np.mean(result[name])) for name in HOTA} for result in (*results.values(), together)]
    return {"cases": means[:-1], "together": means[-1]}


def record_cgf1(folder: Path) -> list[dict[str, float]]:
    """The official evaluator on masks, with one annotator and with three."""
    evaluator = load(folder / "sam3" / "eval" / "cgf1_eval.py", "cgf1_eval").CGF1Evaluator
    results = []
    for seed in range(CASES):
        files, predictions = gold_case(seed, annotators=3 if seed % 2 else 1)
        with tempfile.TemporaryDirectory() as name:
            paths = [Path(name) / f"{i}.json" for i in range(len(files))]
            for path, file in zip(paths, files, strict=True):
                path.write_text(json.dumps(file))
            (Path(name) / "predictions.json").write_text(json.dumps(predictions))
            scores = evaluator([str(path) for path in paths]).evaluate(str(Path(name) / "predictions.json"))
        results.append({key.removeprefix("cgF1_eval_segm_"): value for key, value in scores.items()})
    return results


def load(path: Path, name: str) -> Any:
    """A module from a file."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
