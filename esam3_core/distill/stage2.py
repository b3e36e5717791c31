# SPDX-License-Identifier: Apache-2.0
"""Stage 2, the memory: a student with a frozen encoder learns to follow what it was shown (docs/memory.md)."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from esam3_core.config_stage2 import ClipSourceConfig, Stage2Config
from esam3_core.data.clip import Clips
from esam3_core.data.davis import DavisSequences
from esam3_core.data.lvos import LvosSequences
from esam3_core.data.paste import cut_outs
from esam3_core.data.real import RealFolder
from esam3_core.data.sav import SavVideos
from esam3_core.data.scene_clips import SceneClips
from esam3_core.data.still_clips import StillClips
from esam3_core.deploy.export import is_bundle
from esam3_core.deploy.graphs_memory import memory_of
from esam3_core.deploy.weights import graph_weights
from esam3_core.distill.checkpoint_file import CHECKPOINT, load_checkpoint
from esam3_core.distill.stage import Stage
from esam3_core.distill.stage2_batches import ClipBatch, Stage2Batches
from esam3_core.distill.stage2_cache import ClipCache
from esam3_core.distill.stage2_loop import travel
from esam3_core.distill.stage2_losses import WEIGHTS, coarse_term, hard_iou, mean_of, memory_losses, taught_term
from esam3_core.distill.stage2_samples import draw_journeys
from esam3_core.distill.stage3 import start_from
from esam3_core.distill.teacher import Teacher, open_teacher
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import MEMORY_GRAPHS

POINTER_PROBE = 32  # pixels: side of the frame on which a teacher's pointers are measured


class Stage2(Stage):
    """What the fit loop needs.

    Args:
        config: of the run.

    Raises:
        ValueError: there is no memory to train, no encoder to start from, or no clip.
    """

    helpers: nn.ModuleDict

    def __init__(self, config: Stage2Config) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.student = Student(config.student)
        self.memory = memory_of(self.student)
        if not config.start:
            raise ValueError("stage 2 needs a trained encoder: set start to a stage 3 checkpoint or a bundle")
        start_from(self.student, Path(config.start))
        self.teacher: Teacher | None = open_teacher(config.teacher) if config.teacher.kind != "none" else None
        helpers: dict[str, nn.Module] = {}
        if not (config.memory_start and is_bundle(Path(config.memory_start))):
            # A bundle keeps no helper: beside a grown memory a new one is so wrong that it spoils what is there.
            helpers["coarse"] = nn.Linear(config.student.memory.token_width, 1)
        if self.teacher is not None:
            helpers["pointer"] = nn.Linear(config.student.width, self._pointer_width(self.teacher))
        self.helpers = nn.ModuleDict(helpers)
        if config.memory_start:
            remember_from(self.student, self.helpers, Path(config.memory_start))

    @cached_property
    def caches(self) -> list[ClipCache]:
        """The clips of the run as the encoder sees them; made at the first start."""
        config = self.config
        encoder = self.student.image_encoder.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        caches = []
        for source in config.sources:
            cache = ClipCache(Path(config.cache), source, encoder, config.size, self.teacher)
            cache.fill(open_clips(source, config.seed), source.clips)
            caches.append(cache)
        if not caches:
            raise ValueError("stage 2 has no clips: name some under sources")
        return caches

    def parameters(self) -> list[dict[str, object]]:
        """The memory, and nothing else."""
        self.student.requires_grad_(False)
        self.memory.requires_grad_(True)
        trained = [*self.memory.parameters(), *self.helpers.parameters()]
        return [{"params": trained, "rate": self.config.rate}]

    def prepare(self, device: torch.device) -> None:
        """Encode all clips. A process that holds but a share of each weight could not, and no process waits for another
        to encode them: that may take longer than an exchange between processes may."""
        self.student.image_encoder.to(device)
        _ = self.caches

    def batches(self, first: int) -> Stage2Batches:
        """Batches by number."""
        return Stage2Batches(self.config, self.caches, self.config.student.memory.points)

    def train_mode(self, step: int) -> None:
        """The memory trains, everything else stays as it is."""
        self.student.eval()
        self.memory.train()

    def loss(self, batch: ClipBatch) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of all terms; each term for the log, and the masks' mean IoU."""
        journey = travel(self.memory, batch, self.config.fit.checkpointing)
        terms = memory_losses(journey, batch)
        if "coarse" in self.helpers:
            terms["coarse"] = coarse_term(journey, batch, self.helpers["coarse"])
        total = sum(getattr(WEIGHTS, name) * value for name, value in terms.items())
        assert isinstance(total, Tensor)
        if batch.taught is not None:
            terms["taught"] = taught_term(journey, batch.taught, self.helpers["pointer"](journey.pointers))
            total = total + self.config.teacher_weight * terms["taught"]
        with torch.no_grad():
            terms["j"] = mean_of(hard_iou(journey.masks, batch.masks), batch.visible & batch.known)
        return total, {name: float(value.detach()) for name, value in terms.items()}

    def draw(self, student: Student, batch: ClipBatch, picture: Path) -> None:
        """Draw how a student follows the tracks of a batch."""
        draw_journeys(memory_of(student).eval(), batch, picture)

    def _pointer_width(self, teacher: Teacher) -> int:
        """Channels of a teacher's pointers."""
        frame = torch.zeros(1, POINTER_PROBE, POINTER_PROBE, 3, dtype=torch.uint8)
        corners = torch.tensor([[[0.2, 0.2], [0.8, 0.8]]])
        return int(teacher.clip(frame, corners, torch.tensor([[2, 3]])).pointers.shape[-1])


def remember_from(student: Student, helpers: nn.ModuleDict, folder: Path) -> None:
    """Give a student the memory of a run of stage 2, and its helpers, as far as they are of the same kind and size; or
    the memory of a bundle, which keeps no helpers.

    Raises:
        FileNotFoundError: there is neither a checkpoint nor a bundle with memory.
        ValueError: that memory has other sizes.
    """
    checkpoint = folder / CHECKPOINT
    stored: dict[str, Any] = {}
    if checkpoint.is_file():
        stored = load_checkpoint(checkpoint)
        weights = stored["average"]
    elif (folder / "propagator.onnx").is_file():
        weights = {name: value for graph in MEMORY_GRAPHS for name, value in graph_weights(folder, graph).items()}
    else:
        raise FileNotFoundError(
            f"neither a checkpoint nor a bundle with memory in {folder}: set memory_start to a run of stage 2, to a "
            "bundle, or to nothing"
        )
    memory = {name.removeprefix("memory."): value for name, value in weights.items() if name.startswith("memory.")}
    try:
        memory_of(student).load_state_dict(memory)
    except RuntimeError as error:
        raise ValueError(f"the memory of {folder} has other sizes: use its student section ({error})") from error
    own = helpers.state_dict()
    known = {n: v for n, v in stored.get("helpers", {}).items() if n in own and v.shape == own[n].shape}
    helpers.load_state_dict(own | known)


def open_clips(source: ClipSourceConfig, seed: int) -> Clips:
    """Open the training part of one data set of clips."""
    path = Path(source.path)
    if source.kind == "scenes":
        return SceneClips(path)
    if source.kind == "stills":
        pictures = RealFolder(path, "train")
        cuts = [cut for i in range(len(pictures)) for cut in cut_outs(pictures[i])]
        return StillClips(pictures, cuts, source.clips or len(pictures), source.frames, seed)
    if source.kind == "sav":
        return SavVideos(path)
    return DavisSequences(path, "train") if source.kind == "davis" else LvosSequences(path, "train")
