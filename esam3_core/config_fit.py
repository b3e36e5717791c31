# SPDX-License-Identifier: Apache-2.0
"""What the training stages share: how a run is computed, who teaches, which pictures it reads (docs/distill.md)."""

from __future__ import annotations

from dataclasses import dataclass

from esam3_core.config_checks import check_least

PRECISIONS = ("32-true", "bf16-mixed")
STRATEGIES = ("ddp", "fsdp")
TEACHERS = ("none", "sam3", "student", "official")


@dataclass(frozen=True)
class FitConfig:
    """How the fit loop computes a step. One process or many: the number of processes stands in no configuration."""

    precision: str = "32-true"  # bf16-mixed: products in bfloat16, weights in float32
    strategy: str = "ddp"  # between processes: ddp: each holds all weights; fsdp: each holds a share of them
    accumulate: int = 1  # batches whose gradients are averaged into one step, in each process
    checkpointing: bool = False  # compute activations again in the backward pass instead of keeping them

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"unknown strategy {self.strategy!r}: choose one of {', '.join(STRATEGIES)}")
        check_least(self, 1, "accumulate")


@dataclass(frozen=True)
class TeacherConfig:
    """Who teaches."""

    kind: str = "none"  # sam3: through transformers; student: one of ours; official: a released checkpoint
    path: str = ""  # sam3: folder or name on the hub; student: run, checkpoint or bundle; official: file
    size: int = 0  # side of the teacher's input, pixels; 0 = the teacher's own
    precision: str = "float32"  # float32, bfloat16: of the weights of SAM 3

    def __post_init__(self) -> None:
        if self.kind not in TEACHERS:
            raise ValueError(f"unknown teacher {self.kind!r}: choose one of {', '.join(TEACHERS)}")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"unknown teacher precision {self.precision!r}: choose float32 or bfloat16")
        if self.kind != "none" and not self.path:
            raise ValueError(f"the {self.kind} teacher needs a path")
        check_least(self, 0, "size")


@dataclass(frozen=True)
class SourceConfig:
    """One data set of a training run."""

    path: str  # folder of scene shards, of real pictures or of SA-1B's tars; the annotations of saco, coco and lvis
    kind: str = "scenes"  # scenes, real, sa1b, saco, coco, lvis
    weight: float = 1.0  # how often it is drawn, against the others
    cut_outs: bool = False  # its instances may be pasted into other pictures
    pictures: str = ""  # folder of the pictures of saco, coco and lvis

    def __post_init__(self) -> None:
        check_least(self, 0, "weight")
