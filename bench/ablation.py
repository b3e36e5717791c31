# SPDX-License-Identifier: Apache-2.0
"""What names are learnt from: data, ImageNet's features, the text teacher. Equal numbers of pictures for all.

    python bench/ablation.py CONFIG OUT [--steps 150] [--scenes FOLDER] [--real FOLDER] [--limit 100] [--json FILE]

CONFIG is a configuration of stage 3 that starts from ImageNet (`config/distill/tabletop.yaml`). Each arm trains the
encoder alone for `--steps` steps (as `naming_steps` does) in OUT/<arm>, which resumes; the table says what share of
the instances in held-out scenes and pictures it then calls by their own noun. Weights are the running average.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from esam3_core.config_stage3 import DistillConfig
from esam3_core.data.real import RealFolder
from esam3_core.data.sample import Samples
from esam3_core.data.scenes import SceneShards
from esam3_core.distill.commands import read_run
from esam3_core.distill.fit import Fit
from esam3_core.distill.naming_score import naming_score
from esam3_core.distill.stage3 import Stage3
from esam3_core.metrics.table import markdown_table
from esam3_core.nn.text import TextEncoder

BASE, NO_TEXT = "scenes and real", "text from scratch"


def main() -> None:
    """Train every arm, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=150, help="of each arm (default: %(default)s)")
    parser.add_argument("--scenes", type=Path, default=Path("data/scenes_val"), help="held-out scene shards")
    parser.add_argument("--real", type=Path, default=Path("data/real/coco_mix"), help="a folder of real pictures")
    parser.add_argument("--limit", type=int, default=100, help="pictures of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    config = read_run(arguments.config, DistillConfig)
    held_out: dict[str, Samples] = {
        "scenes": SceneShards(arguments.scenes),
        arguments.real.name: RealFolder(arguments.real, "val"),
    }
    rows = {}
    for name, arm in arms(config, arguments.steps).items():
        print(f"== {name}", flush=True)
        stage = train(arm, arguments.out / name.replace(" ", "_"), fresh_text=name == NO_TEXT)
        rows[name] = {
            where: naming_score(stage.student.eval(), stage.tokenizer, source, arm.size, arguments.limit)
            for where, source in held_out.items()
        }
    head = ["arm", *(f"{name}, {what}" for name in held_out for what in ("right %", "mean of nouns %"))]
    table = {arm: [part[key] for part in parts.values() for key in ("right", "mean")] for arm, parts in rows.items()}
    print(markdown_table(head, table))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def arms(config: DistillConfig, steps: int) -> dict[str, DistillConfig]:
    """Each arm differs from the first in one thing."""
    base = replace(
        config, start="", steps=steps, naming_steps=steps, warmup=min(config.warmup, steps // 4), decay=steps // 3,
        frozen_steps=0, average=0.98, frozen=("conv_stem", "bn1", "blocks.0", "blocks.1"),
    )  # fmt: skip
    scenes = tuple(source for source in config.sources if source.kind == "scenes")
    real = tuple(source for source in config.sources if source.kind != "scenes")
    return {
        BASE: base,
        "scenes only": replace(base, sources=scenes),
        "real only": replace(base, sources=real),
        "trunk from scratch": replace(base, imagenet=False, frozen=()),
        NO_TEXT: replace(base, text_rate=base.rate),
    }


def train(config: DistillConfig, folder: Path, fresh_text: bool) -> Stage3:
    """One run; its student ends with the averaged weights."""
    stage = Stage3(config)
    if fresh_text:
        torch.manual_seed(config.seed)
        stage.student.text_encoder = TextEncoder(config.student.text, config.student.width)
    Fit(config, folder, stage).run()
    return stage


if __name__ == "__main__":
    main()
