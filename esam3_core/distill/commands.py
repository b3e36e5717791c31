# SPDX-License-Identifier: Apache-2.0
"""`esam3 distill`, `cache`, `average` and `export`: train a student, keep its teacher's answers, write its bundle."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TypeVar

from esam3_core.config import DetectorConfig, TrackerConfig, from_dict
from esam3_core.config_stage3 import DistillConfig
from esam3_core.runtime.bundle import find_bundle, known_bundles

STAGES = ("stage1", "stage2", "stage3", "refiner")
SETTINGS = (
    (TrackerConfig, "keep_share", "of the score threshold, from which a detection continues a track"),
    (TrackerConfig, "new_score", "from which an unmatched detection starts a track"),
    (DetectorConfig, "mask_threshold", "probability from which a pixel is in a mask"),
)
"""Settings of a bundle that are chosen at its export, and what they mean."""
ConfigT = TypeVar("ConfigT")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verbs `distill`, `cache`, `average` and `export`."""
    distill = subparsers.add_parser("distill", help="train a student")
    distill.add_argument("stage", choices=STAGES, help="which stage to run")
    distill.add_argument("config", type=Path, help="YAML file of the run, such as config/distill/tabletop.yaml")
    distill.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run in it goes on")
    distill.add_argument("--threads", type=int, default=2, help="CPU threads")
    distill.set_defaults(run=run_distill)

    cache = subparsers.add_parser("cache", help="keep a teacher's answers on disk for stage 1")
    cache.add_argument("config", type=Path, help="YAML file of the run; its cache.folder is filled")
    cache.add_argument("--threads", type=int, default=2, help="CPU threads")
    cache.add_argument("--ray", action="store_true", help="on the Ray cluster of RAY_ADDRESS, or one started here")
    cache.set_defaults(run=run_cache)

    average = subparsers.add_parser("average", help="the mean of two bundles, or of a run and one that went on")
    average.add_argument("first", type=Path, help="folder of a training run; a bundle, or its folder")
    average.add_argument("second", type=Path, help="folder of the run that went on from it; or another bundle")
    average.add_argument("--out", type=Path, required=True, help="folder of the mean; export it, or start from it")
    average.add_argument("--share", type=float, default=0.5, help="of the second, 0..1 (default: %(default)s)")
    average.set_defaults(run=run_average)

    export = subparsers.add_parser("export", help="write the bundle of a trained student")
    export.add_argument("folder", type=Path, help="folder of a training run; or a bundle, to write it again")
    export.add_argument("--out", type=Path, required=True, help="folder of the bundle to write")
    export.add_argument("--name", default="", help="of the bundle; default: the name of its folder")
    export.add_argument("--size", type=int, default=0, help="side of the frame in pixels; default: as before")
    export.add_argument("--memory", type=Path, metavar="RUN", help="run of stage 2 or bundle of the same encoder")
    export.add_argument("--refiner", type=Path, metavar="RUN", help="run of the refiner, or bundle that has one")
    export.add_argument("--calibrate", type=Path, help="held-out scene shards on which to calibrate the scores")
    export.add_argument(
        "--concept", action="append", default=[], metavar="NOUN",
        help="that the bundle claims to know, beside those of the scenes; may be repeated",
    )  # fmt: skip
    for kind, name, meaning in SETTINGS:
        usual = getattr(kind(), name)
        export.add_argument(
            f"--{name.replace('_', '-')}", type=float, help=f"{meaning} (default: {usual}, or the bundle's own)"
        )
    export.set_defaults(run=run_export)


def run_distill(arguments: argparse.Namespace) -> int:
    """Train to the last step of the configuration."""
    import torch

    from esam3_core.distill.fit import Fit
    from esam3_core.distill.stages import open_stage

    if arguments.threads < 1:
        raise ValueError(f"--threads is {arguments.threads}: name 1 or more")
    torch.set_num_threads(arguments.threads)
    config, stage = open_stage(arguments.stage, arguments.config)
    Fit(config, arguments.out, stage).run()
    return 0


def run_cache(arguments: argparse.Namespace) -> int:
    """Make the shards that are still missing."""
    from esam3_core.config_stage1 import Stage1Config

    config = read_run(arguments.config, Stage1Config)
    if not config.cache.folder:
        raise ValueError(f"{arguments.config} names no cache: set cache.folder")
    if arguments.ray:
        from esam3_core.distill.cache_ray import fill_with_ray

        made = fill_with_ray(config, arguments.threads)
    else:
        from esam3_core.distill.cache import fill_here

        made = fill_here(config, arguments.threads)
    print(f"{config.cache.folder}: {made}")
    return 0


def run_average(arguments: argparse.Namespace) -> int:
    """Write the mean of two runs, or of two bundles."""
    from esam3_core.distill.average import average

    first, second = _source(arguments.first), _source(arguments.second)
    print(f"wrote {average(first, second, arguments.out, arguments.share)}")
    return 0


def run_export(arguments: argparse.Namespace) -> int:
    """Write the averaged weights of a run as a bundle."""
    from esam3_core.deploy.export import is_bundle
    from esam3_core.distill.release import release
    from esam3_core.distill.renew import renew

    name = arguments.name or arguments.out.name
    folder, out, size = _source(arguments.folder), arguments.out, arguments.size
    memory, refiner = (_source(one) if one else None for one in (arguments.memory, arguments.refiner))
    tracker, detector = _chosen(arguments, TrackerConfig), _chosen(arguments, DetectorConfig)
    if is_bundle(folder):
        changes = (size, memory, refiner, tracker, detector, arguments.concept, arguments.calibrate)
        written = renew(folder, out, name, *changes)
    else:
        settings = (TrackerConfig(**tracker), DetectorConfig(**detector))
        written = release(folder, out, name, arguments.calibrate, size, memory, refiner, *settings, arguments.concept)
    print(f"wrote {written}")
    return 0


def _source(run: Path) -> Path:
    """A folder as it is; a bundle's name as the folder of that bundle."""
    known = not run.exists() and run.name == str(run) and run.name in known_bundles()
    return find_bundle(run) if known else run


def _chosen(arguments: argparse.Namespace, kind: type) -> dict[str, Any]:
    """The settings of one kind that the command names."""
    named = {name: getattr(arguments, name) for owner, name, _ in SETTINGS if owner is kind}
    return {name: value for name, value in named.items() if value is not None}


def read_config(path: Path) -> DistillConfig:
    """Read the YAML file of a run of stage 3; errors as in `read_run`."""
    return read_run(path, DistillConfig)


def read_run(path: Path, kind: type[ConfigT]) -> ConfigT:
    """Read the YAML file of a run.

    Args:
        kind: the dataclass that it fills.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for names that the configuration does not have, and values that it cannot have.
    """
    values = read_values(path)
    try:
        return from_dict(kind, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_values(path: Path) -> dict[str, Any]:
    """What stands in the YAML file of a run, of whatever stage.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is no YAML, is empty, or holds no names and values.
    """
    import yaml

    if not path.is_file():
        raise FileNotFoundError(f"no configuration at {path}: config/distill/ holds examples")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no names and values: config/distill/ holds examples")
    return values
