# SPDX-License-Identifier: Apache-2.0
"""`python -m esam3_core.scenes`: the verb `esam3 scenes` by itself."""

from __future__ import annotations

import argparse
import sys

from esam3_core.scenes.commands import add_parser


def main() -> int:
    """Run `scenes` with this process's arguments."""
    parser = argparse.ArgumentParser(prog="python -m esam3_core.scenes")
    add_parser(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["scenes", *sys.argv[1:]])
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
