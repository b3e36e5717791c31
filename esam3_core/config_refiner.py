# SPDX-License-Identifier: Apache-2.0
"""Training of the refiner: every default (docs/distill.md, refiner)."""

from __future__ import annotations

from dataclasses import dataclass, field

from esam3_core.config_checks import check_least, check_ranges, check_steps, check_weights
from esam3_core.config_fit import FitConfig

MASK_KINDS = ("scenes", "real")


@dataclass(frozen=True)
class MaskSourceConfig:
    """One data set whose instances the bundles draw."""

    path: str  # folder of scene shards or of real pictures
    kind: str = "scenes"  # scenes, real
    weight: float = 1.0  # how often it is drawn, against the others
    pictures: int = 0  # at most so many, spread evenly; 0 = all

    def __post_init__(self) -> None:
        if self.kind not in MASK_KINDS:
            raise ValueError(f"unknown pictures {self.kind!r}: choose one of {', '.join(MASK_KINDS)}")
        check_least(self, 0, "weight", "pictures")


@dataclass(frozen=True)
class RefinerConfig:
    """One run of the refiner. Everything that decides the result is here; the run's folder keeps a copy."""

    bundles: tuple[str, ...] = ()  # names or folders: what they draw is to be refined; they stay as they are
    start: str = ""  # run or bundle whose refiner to begin with; "" = a new one
    sources: tuple[MaskSourceConfig, ...] = ()
    cache: str = "data/cache/masks"  # folder for the masks that the bundles draw, made at the first start
    share: float = 0.6  # 0..1, of a bundle's score threshold, from which what it finds is refined
    prompts: int = 6  # instances of a picture that are also drawn by a box or a point
    printed: float = 0.35  # 0..1, chance that a patch of another picture is printed on the thing
    littered: float = 0.25  # 0..1, chance that one lies around it
    crops: int = 48  # per step
    steps: int = 6000
    warmup: int = 100  # steps
    decay: int = 5000  # last steps, over which the learning rate falls to a fiftieth
    rate: float = 2.5e-3
    weight_decay: float = 0.01
    clip: float = 5.0  # gradient norm
    average: float = 0.998  # decay of the weights' running average, which is what is exported
    checkpoint_every: float = 120.0  # s
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        check_steps(self)
        check_weights(self.sources)
        check_least(self, 1, "crops")
        check_least(self, 0, "prompts")
        check_ranges(self, share=(0, 1), printed=(0, 1), littered=(0, 1))
        if self.fit.checkpointing:
            raise ValueError("fit.checkpointing is for what needs much memory: leave it out for the refiner")

    @property
    def pictures(self) -> int:
        """Crops that one step sees."""
        return self.crops
