# SPDX-License-Identifier: Apache-2.0
"""Stage 3, everything that finds concepts: every default (docs/distill.md)."""

from __future__ import annotations

from dataclasses import dataclass, field

from esam3_core.config import StudentConfig
from esam3_core.config_checks import check_least, check_ranges, check_side, check_steps, check_weights
from esam3_core.config_fit import FitConfig, SourceConfig, TeacherConfig


@dataclass(frozen=True)
class DistillConfig:
    """One training run of stage 3. Everything that decides the result is here; the run's folder keeps a copy."""

    student: StudentConfig = field(default_factory=StudentConfig)
    sources: tuple[SourceConfig, ...] = ()
    text: str = ""  # folder with text.safetensors and tokenizer.json, or a bundle
    imagenet: bool = True  # start the trunk from ImageNet weights where a package ships them (en_s)
    start: str = ""  # checkpoint of another run, or a bundle, to start from; "" = none
    size: int = 256  # pixels at which pictures are trained; the student runs at student.size
    large_size: int = 0  # pixels of every other batch, so that one student can run at two sizes; 0 = size
    pictures: int = 16  # per step
    prompts: int = 3  # per picture
    paste_share: float = 0.4  # of pictures that get cut-outs
    shown_share: float = 0.0  # of true prompts that boxes show, many of them without a word; needs student.memory
    steps: int = 3000
    warmup: int = 100  # steps
    decay: int = 800  # last steps, over which the learning rate falls to a fiftieth
    frozen_steps: int = 300  # first steps during which the whole trunk keeps its weights
    naming_steps: int = 0  # first steps in which only the encoder learns, what things are called: three times as fast
    encoder_frozen: bool = False  # trunk and neck keep their weights, which makes a step much cheaper
    frozen: tuple[str, ...] = ("conv_stem", "bn1", "blocks.0", "blocks.1")  # parts of the trunk that never train
    rate: float = 4e-4  # learning rate of neck and detector
    trunk_rate: float = 1e-4
    text_rate: float = 0.0  # of the text encoder; 0 = only its projector trains, at `rate`
    weight_decay: float = 0.02
    clip: float = 1.0  # gradient norm
    average: float = 0.998  # decay of the weights' running average, which is what is exported
    checkpoint_every: float = 180.0  # s
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)  # adds its terms to the loss
    teacher_weight: float = 1.0

    def __post_init__(self) -> None:
        check_side(self.size, self.student.multiple)
        if self.large_size:
            check_side(self.large_size, self.student.multiple, "large_size")
        check_steps(self)
        check_weights(self.sources)
        check_least(self, 1, "pictures", "prompts")
        check_least(self, 0, "frozen_steps", "naming_steps", "trunk_rate", "text_rate", "teacher_weight")
        check_ranges(self, paste_share=(0, 1), shown_share=(0, 1))
