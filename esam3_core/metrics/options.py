# SPDX-License-Identifier: Apache-2.0
"""Which options of `esam3 eval` go together: what has no say is refused instead of ignored."""

from __future__ import annotations

import argparse

DATA = ("scenes", "real", "clip", "scene_clips", "saco", "veval", "coco", "lvis", "davis", "lvos", "sav")
GOES_WITH = {
    "pictures": ("saco", "veval", "coco", "lvis"),
    "prompt": ("coco", "lvis", "real"),
    "predictions": ("saco", "veval"),
    "results": ("davis", "lvos", "sav"),
    "split": ("real",),
    "masks": ("clip",),
    "concept": ("clip",),
    "limit": tuple(name for name in DATA if name != "clip"),
    "threshold": ("scenes", "real", "clip", "scene_clips"),  # SA-Co has its own, shown objects have none
    "plots": ("scenes", "real"),
}
"""Option -> the data with which it has a say."""
SPLIT = "val"  # of real pictures, where no --split is given


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse options that miss something or have no say.

    Raises:
        ValueError: the message names the options.
    """
    data = next(name for name in DATA if getattr(arguments, name))
    for option, fitting in GOES_WITH.items():
        if data not in fitting and _is_given(arguments, option):
            only = _listing(fitting)
            raise ValueError(f"{_flag(option)} has no say with {_flag(data)}, only with {only}: leave it out")
    if arguments.limit < 0:
        raise ValueError(f"--limit is {arguments.limit}: give a number of pictures, or 0 for all")
    if data == "clip" and not (arguments.masks and arguments.concept):
        raise ValueError("--clip needs --masks and --concept: name what the masks show")
    if arguments.prompt and (arguments.plots or arguments.threshold is not None):
        raise ValueError("--plots and --threshold have no say with --prompt, which asks for one mask: leave them out")
    if bool(arguments.bundle) == bool(arguments.predictions or arguments.results):
        raise ValueError("name a bundle, or what another program wrote with --predictions or --results, not both")
    if data in GOES_WITH["pictures"] and arguments.pictures is None:
        raise ValueError(f"{_flag(data)} needs --pictures: name the folder of its pictures")


def _is_given(arguments: argparse.Namespace, option: str) -> bool:
    value = getattr(arguments, option)
    return bool(value) if option == "limit" else value is not None  # --limit 0 is all, which is the default


def _listing(names: tuple[str, ...]) -> str:
    *most, last = map(_flag, names)
    return f"{', '.join(most)} and {last}" if most else last


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
