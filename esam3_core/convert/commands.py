# SPDX-License-Identifier: Apache-2.0
"""`esam3 fetch` and `esam3 import`: released checkpoints, and bundles out of them."""

from __future__ import annotations

import argparse
from pathlib import Path

from esam3_core.convert.releases import LICENCE, WEIGHTS, choose_release


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verbs `fetch` and `import`."""
    fetch = subparsers.add_parser("fetch", help="download a released EfficientSAM3 checkpoint and make a bundle of it")
    fetch.add_argument("variant", help="ev_s, ev_m, ev_l, rv_s, rv_m, rv_l, tv_s, tv_m or tv_l")
    fetch.add_argument("--weights", choices=WEIGHTS, help="which of its releases; default: the most useful one")
    fetch.add_argument(
        "--out", type=Path, help="folder of the bundle; default: named as the variant, in ESAM3_BUNDLES or else here"
    )
    fetch.set_defaults(run=run_fetch)

    bring = subparsers.add_parser("import", help="make a bundle out of an official EfficientSAM3 checkpoint")
    bring.add_argument("checkpoint", type=Path, help="a .pt, .pth or .safetensors file")
    bring.add_argument("--out", type=Path, required=True, help="folder of the bundle to write")
    bring.add_argument("--variant", help="what the checkpoint should be, such as tv_m; default: whatever it is")
    for parser in (fetch, bring):
        parser.add_argument(
            "--tracker", action="store_true",
            help="import SAM 3's tracker too: tracks then remember, at seconds per object and frame on a CPU",
        )  # fmt: skip
    bring.set_defaults(run=run_import)


def run_fetch(arguments: argparse.Namespace) -> int:
    """Download, check and import."""
    from huggingface_hub import logging

    from esam3_core.convert.fetch import fetch, hub_licence
    from esam3_core.deploy.export import check_place

    logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, at the end
    release = choose_release(arguments.variant, arguments.weights)
    out = arguments.out or _home() / release.variant
    check_place(out)  # before hundreds of megabytes are fetched for it
    print(f"{release.variant}, {release.weights}: {WEIGHTS[release.weights]}\nfrom {release.page}, {release.file}")
    print(f"licence on the hub: {hub_licence(release) or 'unknown'}. {LICENCE}")
    path = fetch(release)
    print(f"checkpoint: {path}")
    return _import(path, out, release.variant, arguments.tracker)


def run_import(arguments: argparse.Namespace) -> int:
    """Make a bundle out of a file."""
    return _import(arguments.checkpoint, arguments.out, arguments.variant, arguments.tracker)


def _home() -> Path:
    """Where bundles are found by name: the first folder of ESAM3_BUNDLES, else the one we are in."""
    from esam3_core.runtime.bundle import SHIPPED, bundle_folders

    first = bundle_folders()[0]
    return Path() if first == SHIPPED else first


def _import(checkpoint: Path, out: Path, variant: str | None, tracker: bool) -> int:
    """Convert, export, and say what became of every entry."""
    from esam3_core.convert.bundle import import_checkpoint

    made = import_checkpoint(checkpoint, out, variant, tracker)
    print(made.imported.report())
    print(f"wrote {made.folder}: run it with --bundle {made.folder}")
    return 0
