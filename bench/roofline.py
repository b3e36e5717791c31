# SPDX-License-Identifier: Apache-2.0
"""The estimate of `esam3 roofline` for a student that nobody has trained: what a variant and a size would cost.

    python bench/roofline.py [--variant rv_m] [--size 320] [--tracks 5] [--json FILE]

A random student with memory is exported and its graphs are counted; weights do not matter. Shapes that inference does
not find need one run of a graph, which takes long at --size 1024, so that `make bench` measures a small one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from esam3_core.config import TRUNKS, MemoryConfig, StudentConfig
from esam3_core.deploy.export import export_bundle
from esam3_core.deploy.roofline import as_markdown, estimate
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import SHIPPED, Bundle


def main() -> None:
    """Export, print the page, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", choices=TRUNKS, default="rv_m", help="default: %(default)s")
    parser.add_argument("--size", type=int, default=320, help="pixels (default: %(default)s)")
    parser.add_argument("--tracks", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    text = Bundle.load("tabletop").student.text  # its tokenizer is used too
    config = StudentConfig(
        variant=arguments.variant, size=arguments.size, text=text, memory=MemoryConfig(kind="perceiver")
    )
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = SHIPPED / "tabletop" / "tokenizer.json"
        folder = export_bundle(Student(config).eval(), tokenizer, Path(scratch) / "b", f"random {config.variant}", [])
        bundle = Bundle.load(folder)
        rows = estimate(bundle, "fp16", arguments.tracks, 1)
        print(as_markdown(bundle, rows, "fp16", arguments.tracks, 1))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        values = {"variant": config.variant, "size": config.size, "graphs": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
