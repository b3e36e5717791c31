# SPDX-License-Identifier: Apache-2.0
"""`esam3 fetch`: released checkpoints."""

from __future__ import annotations

import argparse

from esam3_core.convert.releases import LICENCE, WEIGHTS, choose_release


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Register the verb `fetch`."""
    fetch = subparsers.add_parser("fetch", help="download a released EfficientSAM3 checkpoint")
    fetch.add_argument("variant", help="ev_s, ev_m, ev_l, rv_s, rv_m, rv_l, tv_s, tv_m or tv_l")
    fetch.add_argument("--weights", choices=WEIGHTS, help="which of its releases; default: the most useful one")
    fetch.set_defaults(run=run_fetch)


def run_fetch(arguments: argparse.Namespace) -> int:
    """Download, check, and say where the file is."""
    from huggingface_hub import logging

    from esam3_core.convert.fetch import fetch, hub_licence

    logging.set_verbosity(logging.CRITICAL)  # what goes wrong is said once, at the end
    release = choose_release(arguments.variant, arguments.weights)
    print(f"{release.variant}, {release.weights}: {WEIGHTS[release.weights]}\nfrom {release.page}, {release.file}")
    print(f"licence on the hub: {hub_licence(release) or 'unknown'}. {LICENCE}")
    print(fetch(release))
    return 0
