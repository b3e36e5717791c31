# SPDX-License-Identifier: Apache-2.0
"""Stage 1 and the cache of what its teacher says: every default (docs/distill.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

from esam3_core.config import StudentConfig
from esam3_core.config_checks import check_least, check_side, check_steps, check_weights
from esam3_core.config_fit import FitConfig, SourceConfig, TeacherConfig

QUANTISED = ("fp16", "int8")


@dataclass(frozen=True)
class CacheConfig:
    """What of a teacher's answers is kept on disk, and how."""

    folder: str = ""  # "" = no cache: the teacher answers during training
    levels: tuple[str, ...] = ("p16", "p8", "p4")  # of the teacher's features
    precision: str = "int8"  # fp16, or int8 with a scale per channel
    views: int = 1  # of each picture: the first is the whole, undisturbed one, the others are cropped and disturbed
    prompts: int = 8  # instances of a view for which the teacher's mask is kept
    shard: int = 64  # views per file

    def __post_init__(self) -> None:
        if self.precision not in QUANTISED:
            raise ValueError(f"unknown cache precision {self.precision!r}: choose fp16 or int8")
        check_least(self, 1, "views", "shard")
        check_least(self, 0, "prompts")


@dataclass(frozen=True)
class Stage1Config:
    """One run of stage 1, or one cache for it. Everything that decides the result is here."""

    student: StudentConfig = field(default_factory=StudentConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    sources: tuple[SourceConfig, ...] = ()
    text: str = ""  # folder with text.safetensors and tokenizer.json, or bundle; "" = a new text encoder, learns here
    phrases: str = ""  # file with one phrase per line, on which a new text encoder learns
    imagenet: bool = True  # start the trunk from ImageNet weights where a package ships them (en_s)
    start: str = ""  # run, checkpoint or bundle to start from; the teacher's own path = take its heads; "" = none
    size: int = 256  # pixels at which views are trained
    pictures: int = 16  # per step
    prompts: int = 4  # instances per picture that prompts ask for
    rounds: int = 2  # decodings of a prompt; each but the first has one more point, where teacher and student disagree
    concepts: int = 2  # phrases per picture that the teacher's concept heads are asked about
    texts: int = 32  # phrases per step for the text encoder
    mse_weight: float = 1.0
    cosine_weight: float = 1.0
    prompt_weight: float = 1.0  # 0 = no prompts in the loop
    concept_weight: float = 1.0  # 0 = no concepts in the loop
    text_weight: float = 0.0  # 0 = the text encoder does not learn
    steps: int = 3000
    warmup: int = 100  # steps
    decay: int = 800  # last steps, over which the learning rate falls to a fiftieth
    rate: float = 4e-4  # learning rate of neck, text encoder and adapters
    trunk_rate: float = 2e-4
    weight_decay: float = 0.02
    clip: float = 1.0  # gradient norm
    average: float = 0.998  # decay of the weights' running average
    checkpoint_every: float = 180.0  # s
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        check_side(self.size, self.student.multiple)
        check_steps(self)
        check_weights(self.sources)
        check_least(self, 1, "pictures", "rounds")
        check_least(self, 0, "prompts", "concepts", "texts", "trunk_rate")
        check_least(self, 0, "mse_weight", "cosine_weight", "prompt_weight", "concept_weight", "text_weight")
