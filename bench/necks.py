# SPDX-License-Identifier: Apache-2.0
"""Our neck and detector (`fpn`) beside those of official checkpoints (`sam3`) on one trunk: time and MACs per block.

    python bench/necks.py [--variants ev_m rv_m tv_m] [--runs 3] [--threads 2] [--json FILE]

One frame and one concept in torch, random weights, the fastest of the runs. `sam3` sees 1008 pixels; `fpn` halves the
frame five times, so it sees 1024, a little more. MACs are those of matrix products and convolutions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from esam3_core.config import StudentConfig, TextConfig
from esam3_core.convert.official import official_config
from esam3_core.deploy.graphs import DetectorGraph, example_inputs
from esam3_core.nn.student import Student

BLOCKS = {
    "encoder.trunk": "trunk", "encoder.neck": "neck", "detector.fusion": "fusion encoder",
    "detector.decoder": "decoder", "detector.pixels": "mask head", "detector.masks": "mask head",
}  # fmt: skip
"""Module of a `Frame` -> block of the table; what is in none of them is the rest."""
ORDER = ("trunk", "neck", "fusion encoder", "decoder", "mask head", "rest")
UNITS = ("ms", "gmac")
FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # torch does not count it by itself
TEXT = TextConfig(kind="clip", vocab_size=64, context=16, width=64, layers=1, heads=1, ffn=64)  # it is not measured


class Frame(nn.Module):
    """Everything that a frame with one concept costs."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        student = Student(config).eval().requires_grad_(False)
        self.encoder, self.graph = student.image_encoder, DetectorGraph(student)
        self.detector = student.detector

    def forward(self, image: torch.Tensor, prompt: torch.Tensor, pad: torch.Tensor) -> torch.Tensor:
        features = self.encoder(image)
        return self.graph(features.p16, features.p8, features.p4, prompt, pad)[-1]


def main() -> None:
    """Measure, print a table per variant, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=["ev_m", "rv_m", "tv_m"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = {}
    for variant in arguments.variants:
        necks = {"fpn": StudentConfig(variant=variant, size=1024), "sam3": official_config(variant, TEXT)}
        results[variant] = {name: measure(config, arguments.runs) for name, config in necks.items()}
        report(variant, results[variant])
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


@torch.inference_mode()
def measure(config: StudentConfig, runs: int) -> dict[str, dict[str, float]]:
    """Block -> ms and giga-MACs of one frame."""
    frame = Frame(config).eval()
    inputs = example_inputs("detector", config, 1)
    given = (example_inputs("image_encoder", config)["image"], inputs["prompt"], inputs["prompt_pad"])
    with FlopCounterMode(display=False, custom_mapping={FUSED: fused_flops}) as counter:
        frame(*given)
    counts = counter.get_flop_counts()
    macs: dict[str, float] = defaultdict(float)
    for name, block in BLOCKS.items():
        macs[block] += sum(counts.get(f"Frame.{name}", counts.get(f"Frame.graph.{name}", {})).values()) / 2e9
    macs["rest"] = counter.get_total_flops() / 2e9 - sum(macs.values())
    fastest = min((timed(frame, given) for _ in range(runs)), key=lambda spent: sum(spent.values()))
    return {block: {"ms": round(fastest[block], 1), "gmac": round(macs[block], 2)} for block in ORDER}


def fused_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Of attention in one piece, by the shapes of its inputs."""
    return sdpa_flop_count(query, key, value)


def timed(frame: Frame, given: tuple[torch.Tensor, ...]) -> dict[str, float]:
    """Block -> ms of one run."""
    spent: dict[str, float] = defaultdict(float)
    starts: dict[str, float] = {}
    hooks = []
    for name, block in BLOCKS.items():
        module = frame.get_submodule(name)
        hooks.append(module.register_forward_pre_hook(_starter(starts, name)))
        hooks.append(module.register_forward_hook(_stopper(starts, name, spent, block)))
    start = time.perf_counter()
    frame(*given)
    total = 1e3 * (time.perf_counter() - start)
    for hook in hooks:
        hook.remove()
    spent["rest"] = total - sum(spent.values())
    return spent


def _starter(starts: dict[str, float], name: str) -> Callable[..., None]:
    def start(*_: Any) -> None:
        starts[name] = time.perf_counter()

    return start


def _stopper(starts: dict[str, float], name: str, spent: dict[str, float], block: str) -> Callable[..., None]:
    def stop(*_: Any) -> None:
        spent[block] += 1e3 * (time.perf_counter() - starts[name])

    return stop


def report(variant: str, result: dict[str, dict[str, dict[str, float]]]) -> None:
    """One table."""
    print(f"\n{variant}{'fpn ms':>22}{'sam3 ms':>10}{'faster':>9}{'fpn GMAC':>11}{'sam3 GMAC':>11}{'fewer':>8}")
    rows = {block: [result[neck][block] for neck in ("fpn", "sam3")] for block in ORDER}
    rows["frame"] = [{unit: sum(one[unit] for one in parts.values()) for unit in UNITS} for parts in result.values()]
    for block, (ours, theirs) in rows.items():
        faster, fewer = (theirs[unit] / max(ours[unit], 1e-3) for unit in UNITS)
        print(
            f"  {block:14}{ours['ms']:10.1f}{theirs['ms']:10.1f}{faster:8.1f}x"
            f"{ours['gmac']:11.2f}{theirs['gmac']:11.2f}{fewer:7.1f}x"
        )


if __name__ == "__main__":
    main()
