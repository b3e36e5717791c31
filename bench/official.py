# SPDX-License-Identifier: Apache-2.0
"""An official checkpoint in upstream's PyTorch and here in ONNX Runtime: time and peak memory per image on a CPU.

    python bench/official.py UPSTREAM [--variants ev_m rv_m tv_m] [--runs 3] [--checkpoints FOLDER] [--bundles FOLDER]

UPSTREAM is a checkout of https://github.com/SimonZeng7108/efficientsam3, with what it needs installed (iopath, einops,
omegaconf, psutil beside torch and timm). Both sides run the same weights, random ones unless there are checkpoints, on
the same image; runs take turns, and the fastest of each counts. Both sides' detections are compared. Where other
programs run too, seconds say little; processor seconds, of all threads together, say more, best with `--cores 1`, as
threads that wait for each other may count as working.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).parent
WIDTH, HEIGHT, CELL = 1280, 720, 80  # of the image and of its squares of one colour, pixels
CONCEPTS = ("cup", "red mug", "book", "green bottle")
SIDES = ("upstream", "ours")
KEPT = 5  # detections per image that the threshold leaves


class Side:
    """A process that answers requests."""

    def __init__(self, *command: str) -> None:
        self._name = Path(command[0]).name
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def __call__(self, do: str, **request: Any) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._name} ended with {self._process.wait()}: see above")
        return json.loads(line)


def main() -> None:
    """Measure, print two tables per variant, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("upstream", type=Path, help="checkout of EfficientSAM3")
    parser.add_argument("--variants", nargs="+", default=["ev_m", "rv_m", "tv_m"])
    parser.add_argument("--runs", type=int, default=3, help="of each side; the fastest counts")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 4], help="concepts at a time")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--checkpoints", type=Path, help="take VARIANT.pt from here (MobileCLIP-S0, 16 tokens)")
    parser.add_argument("--bundles", type=Path, help="keep the imported bundles here, and take them from here")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])  # of the sides too
    with TemporaryDirectory() as scratch:
        results = [measure(arguments, variant, Path(scratch)) for variant in arguments.variants]
    for result in results:
        report(result)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def measure(arguments: argparse.Namespace, variant: str, scratch: Path) -> dict[str, Any]:
    """Both sides of one variant."""
    given = [str(arguments.checkpoints / f"{variant}.pt")] if arguments.checkpoints else []
    upstream = Side(str(HERE / "official_upstream.py"), str(arguments.upstream), variant, str(arguments.cores), *given)
    bundle = (arguments.bundles or scratch) / variant
    if not (bundle / "student.yaml").exists():
        checkpoint = given[0] if given else str(scratch / f"{variant}_ctx16.pt")
        if not given:
            upstream("save", path=checkpoint)
        command = [sys.executable, "-W", "ignore", "-m", "esam3_core", "import", checkpoint, "--out", str(bundle)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    ours = Side(str(HERE / "official_ours.py"), str(bundle), str(arguments.cores))
    image = scratch / "image.png"
    cells = np.random.default_rng(0).integers(0, 256, (HEIGHT // CELL, WIDTH // CELL, 3), np.uint8)
    cv2.imwrite(str(image), cells.repeat(CELL, 0).repeat(CELL, 1))
    scores = upstream("run", image=str(image), concepts=CONCEPTS[:1], threshold=0.0)["found"][0]["scores"]
    request = {"image": str(image), "threshold": (scores[KEPT - 1] + scores[KEPT]) / 2}
    result: dict[str, Any] = {"variant": variant, "cores": arguments.cores, "threshold": request["threshold"]}
    result["counts"] = {}
    for count in arguments.counts:
        runs = [
            {"upstream": upstream("run", concepts=CONCEPTS[:count], **request),
             "ours": ours("run", concepts=CONCEPTS[:count], **request)}
            for _ in range(arguments.runs)
        ]  # fmt: skip
        fastest = {side: min((run[side] for run in runs), key=lambda answer: answer["seconds"]) for side in SIDES}
        for side in SIDES:
            fastest[side]["processor"] = min(run[side]["processor"] for run in runs)
        result["counts"][count] = fastest
        result["counts"][count]["differences"] = difference(runs[-1]["upstream"], runs[-1]["ours"])
    upstream.close()
    ours.close()
    return result


def difference(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, float]:
    """Largest differences between detections: their number, scores, box corners in pixels, mask areas in pixels."""
    pairs = list(zip(theirs["found"], ours["found"], strict=True))
    worst = {"number": float(sum(abs(len(a["scores"]) - len(b["scores"])) for a, b in pairs))}
    for name in ("scores", "boxes", "areas"):
        both = [(x, y) for a, b in pairs for x, y in zip(a[name], b[name], strict=False)]
        gaps = [np.abs(inside(x) - inside(y)).max() for x, y in both]
        worst[name] = float(max(gaps, default=0.0))
    return worst


def inside(values: Any) -> np.ndarray:
    """A number, or a box x0, y0, x1, y1 cut at the borders of the image, as our detections are."""
    array = np.array(values, float)
    return np.clip(array, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]) if array.ndim else array


def report(result: dict[str, Any]) -> None:
    """Two tables of one variant."""
    print(f"\n{result['variant']}: one image of {WIDTH} x {HEIGHT}, {result['cores']} cores")
    print("concepts  upstream s   ours s  faster  processor s    ours    less  upstream MB  ours MB  differences")
    for count, sides in result["counts"].items():
        theirs, ours = sides["upstream"], sides["ours"]
        print(
            f"{count:>8} {theirs['seconds']:11.2f} {ours['seconds']:8.2f} {theirs['seconds'] / ours['seconds']:6.2f}x "
            f"{theirs['processor']:12.2f} {ours['processor']:7.2f} {theirs['processor'] / ours['processor']:5.2f}x "
            f"{theirs['peak']:12.0f} {ours['peak']:8.0f}  "
            + ", ".join(f"{name} {value:.2g}" for name, value in sides["differences"].items())
        )
    for side in SIDES:
        stages = {count: sides[side]["stages"] for count, sides in result["counts"].items()}
        print(f"  {side}, ms: " + "; ".join(
            f"{name} " + " / ".join(f"{1000 * stages[count].get(name, 0):.0f}" for count in stages)
            for name in next(iter(stages.values()))
        ))  # fmt: skip


if __name__ == "__main__":
    main()
