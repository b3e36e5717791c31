# SPDX-License-Identifier: Apache-2.0
"""`esam3 distill stage3` and `esam3 export`: train a student, write its bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from esam3_core.config import DistillConfig, from_dict


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verbs `distill` and `export`."""
    distill = subparsers.add_parser("distill", help="train a student")
    distill.add_argument("stage", choices=("stage3",), help="which stage to run")
    distill.add_argument("config", type=Path, help="YAML file of the run, such as config/distill/tabletop.yaml")
    distill.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run in it goes on")
    distill.add_argument("--threads", type=int, default=2, help="CPU threads")
    distill.set_defaults(run=run_distill)

    export = subparsers.add_parser("export", help="write the bundle of a trained student")
    export.add_argument("folder", type=Path, help="folder of a training run")
    export.add_argument("--out", type=Path, required=True, help="folder of the bundle to write")
    export.add_argument("--name", default="", help="of the bundle; default: the name of its folder")
    export.add_argument("--size", type=int, default=0, help="side of the frame in pixels; default: the run's own")
    export.add_argument("--calibrate", type=Path, help="held-out scene shards on which to calibrate the scores")
    export.set_defaults(run=run_export)


def run_distill(arguments: argparse.Namespace) -> int:
    """Train to the last step of the configuration."""
    import torch

    from esam3_core.distill.fit import Fit

    torch.set_num_threads(arguments.threads)
    Fit(read_config(arguments.config), arguments.out).run()
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write the averaged weights of a run as a bundle."""
    from esam3_core.distill.release import release

    name = arguments.name or arguments.out.name
    print(f"wrote {release(arguments.folder, arguments.out, name, arguments.calibrate, arguments.size)}")
    return 0


def read_config(path: Path) -> DistillConfig:
    """Read the YAML file of a run.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for names that the configuration does not have.
    """
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"no configuration at {path}: config/distill/ holds examples")
    return from_dict(DistillConfig, yaml.safe_load(path.read_text()) or {})
