# SPDX-License-Identifier: Apache-2.0
"""What a teacher still finds at the size at which it is to teach.

    python bench/teacher_sizes.py [--teacher esam3_core/bundles/tabletop] [--sizes 160 192 224 256 320]
                                  [--scenes data/scenes_calib] [--pictures 40] [--json FILE]

A network that learnt at one size sees things at another scale at another size, and a student that imitates it there
learns to see as little. For each size: cgF1 with the adjustment of both logits that suits these very pictures best
(`distill/calibrate.py`), the share of instances that any drawn query has found (mean over the IoUs of cgF1), and how
well the presence logit alone tells where the concept is (area under the ROC curve; 50 % = not at all).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from esam3_core.config_fit import TeacherConfig
from esam3_core.data.scenes import SceneShards
from esam3_core.distill.calibrate import fit_shifts
from esam3_core.distill.calibration_answers import Answers, collect
from esam3_core.distill.teacher_student import StudentTeacher
from esam3_core.metrics.table import markdown_table

AS_TRAINED = (1.0, 1.0)  # weight of the proposals' logits, share of the decoder's correction


def main() -> None:
    """Ask at every size, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="esam3_core/bundles/tabletop", help="run, checkpoint or bundle")
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 192, 224, 256, 320], help="pixels")
    parser.add_argument("--scenes", type=Path, default=Path("data/scenes_calib"), help="held-out scene shards")
    parser.add_argument("--tokenizer", type=Path, default=Path("data/text/tokenizer.json"))
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row(arguments, size) for size in arguments.sizes]
    print(markdown_table(list(rows[0]), {str(one["pixels"]): list(one.values())[1:] for one in rows}))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        told = {"teacher": arguments.teacher, "pictures": arguments.pictures, "rows": rows}
        arguments.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def row(arguments: argparse.Namespace, size: int) -> dict[str, float]:
    """What the teacher says of the pictures at one size."""
    student = StudentTeacher.open(TeacherConfig("student", arguments.teacher, size)).student
    single = ((AS_TRAINED[0],), (AS_TRAINED[1],))
    answers = collect(student, arguments.tokenizer, [(SceneShards(arguments.scenes), arguments.pictures)], size, single)
    told = answers[AS_TRAINED]
    return {
        "pixels": size,
        "cgF1": 100 * fit_shifts(answers).cg_f1_after,
        "found %": 100 * float(told.right.sum() / max(1, told.truths.sum())),
        "presence %": 100 * told_apart(told),
    }


def told_apart(answers: Answers) -> float:
    """Share of the pairs of questions, one of them true, in which presence is the higher for the true one."""
    there = answers.truths > 0
    return float((answers.presence[there][:, None] > answers.presence[~there][None]).mean())


if __name__ == "__main__":
    main()
