# SPDX-License-Identifier: Apache-2.0
"""What a student calls the things it is shown: the share of instances whose own noun wins, apart from finding them.

    python bench/naming.py RUN [RUN ...] [--scenes FOLDER] [--real FOLDER] [--size 256] [--limit 200] [--json FILE]

RUN is the folder of a stage 3 run, its checkpoint, or the folder of a bundle. Every instance of a whole picture whose
noun is in the vocabulary is asked which of all nouns the alignment of its image tokens prefers; chance is one in
eighteen. `mean of nouns` weighs every noun the same; `closest` asks that "mug", not only "cup", wins over what a mug is
not. A detector cannot name better than this.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from esam3_core.config_fit import TeacherConfig
from esam3_core.data.real import RealFolder
from esam3_core.data.sample import Samples
from esam3_core.data.scenes import SceneShards
from esam3_core.distill.naming_score import naming_score
from esam3_core.distill.teacher_student import StudentTeacher
from esam3_core.metrics.table import markdown_table


def main() -> None:
    """Ask, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--scenes", type=Path, help="scene shards")
    parser.add_argument("--real", type=Path, help="folder of real pictures; those kept out of training")
    parser.add_argument("--size", type=int, default=256, help="pixels, S (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=200, help="pictures of each (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    sources: dict[str, Samples] = {}
    if arguments.scenes:
        sources["scenes"] = SceneShards(arguments.scenes)
    if arguments.real:
        sources[arguments.real.name] = RealFolder(arguments.real, "val")
    if not sources:
        parser.error("name --scenes or --real, or both")
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for run in arguments.runs:
        opened = StudentTeacher.open(TeacherConfig("student", str(run), arguments.size))
        rows[run.name] = {
            name: naming_score(opened.student, opened.tokenizer, source, opened.size, arguments.limit)
            for name, source in sources.items()
        }
    head = [
        "run",
        *(f"{name}, {what}" for name in sources for what in ("instances", "right %", "mean of nouns %", "closest %")),
    ]
    table = {
        run: [v for part in parts.values() for v in (int(part["instances"]), part["right"], part["mean"], part["own"])]
        for run, parts in rows.items()
    }
    print(markdown_table(head, table))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
