# SPDX-License-Identifier: Apache-2.0
"""Stage 2, the memory: every default (docs/memory.md, training)."""

from __future__ import annotations

from dataclasses import dataclass, field

from esam3_core.config import StudentConfig
from esam3_core.config_checks import check_least, check_ranges, check_side, check_steps, check_weights
from esam3_core.config_fit import FitConfig, TeacherConfig

CLIP_KINDS = ("scenes", "stills", "sav", "davis", "lvos")
PROMPTS = ("mask", "box", "point")


@dataclass(frozen=True)
class ClipSourceConfig:
    """One data set of clips."""

    path: str  # folder of scene shards, of real pictures, or of a video data set
    kind: str = "scenes"  # scenes, sav, davis, lvos; stills: pictures that become clips by moving crops and occluders
    weight: float = 1.0  # how often it is drawn, against the others
    clips: int = 0  # at most so many; stills: so many are made; 0 = all, or one per picture
    frames: int = 12  # of a clip that is made of a still; annotated ones of another at most, 0 = all

    def __post_init__(self) -> None:
        if self.kind not in CLIP_KINDS:
            raise ValueError(f"unknown clips {self.kind!r}: choose one of {', '.join(CLIP_KINDS)}")
        check_least(self, 0, "weight", "clips", "frames")
        if self.kind == "stills" and self.frames < 2:
            raise ValueError(f"frames is {self.frames}: a clip made of a still has at least 2")


@dataclass(frozen=True)
class Stage2Config:
    """One run of stage 2. Everything that decides the result is here; the run's folder keeps a copy."""

    student: StudentConfig = field(default_factory=StudentConfig)
    start: str = ""  # run, checkpoint or bundle with the encoder, which stays as it is
    memory_start: str = ""  # run of stage 2 or bundle, perhaps of another encoder, whose memory to begin with
    sources: tuple[ClipSourceConfig, ...] = ()
    cache: str = "data/cache/clips"  # folder for the encoder's features of all clips, made at the first start
    teacher: TeacherConfig = field(default_factory=TeacherConfig)  # adds its masks and pointers to the loss
    teacher_weight: float = 1.0
    size: int = 256  # pixels at which clips are seen; the student runs at student.size
    tracks: int = 8  # per step, while clips are short
    objects: int = 3  # of one clip that may become tracks of one step
    frames: int = 8  # of a clip at first
    frames_last: int = 16  # and in the end, with fewer tracks
    grow: float = 0.7  # 0..1, share of the steps after which clips are long
    prompts: tuple[float, ...] = (0.5, 0.3, 0.2)  # chances of mask, box and point in a track's first frame
    corrected: float = 0.3  # 0..1, chance that a detection corrects a track in one later frame
    away: float = 0.3  # 0..1, chance that the camera looks elsewhere for some frames
    unwritten: float = 0.2  # 0..1, chance that a frame is not remembered
    steps: int = 3000
    warmup: int = 100  # steps
    decay: int = 1500  # last steps, over which the learning rate falls to a fiftieth
    rate: float = 1.5e-3
    weight_decay: float = 0.01
    clip: float = 1.0  # gradient norm
    average: float = 0.997  # decay of the weights' running average, which is what is exported
    checkpoint_every: float = 120.0  # s
    seed: int = 0
    fit: FitConfig = field(default_factory=FitConfig)

    def __post_init__(self) -> None:
        check_side(self.size, 32)
        check_steps(self)
        check_weights(self.sources)
        check_least(self, 1, "tracks", "objects")
        check_least(self, 0, "teacher_weight")
        check_ranges(self, grow=(0, 1), corrected=(0, 1), away=(0, 1), unwritten=(0, 1))
        if len(self.prompts) != len(PROMPTS) or min(self.prompts) < 0 or sum(self.prompts) <= 0:
            raise ValueError(f"prompts {list(self.prompts)}: give three chances, of {', '.join(PROMPTS)}")
        if not 2 <= self.frames <= self.frames_last:
            raise ValueError(f"frames ({self.frames}) must lie in 2..frames_last ({self.frames_last})")

    @property
    def pictures(self) -> int:
        """Frames of tracks that one step sees."""
        return self.tracks * self.frames
