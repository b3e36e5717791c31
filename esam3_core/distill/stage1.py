# SPDX-License-Identifier: Apache-2.0
"""Stage 1, the encoder: a student learns to see what its teacher sees (docs/distill.md, stage 1).

Features by squared error and direction at every scale; then prompts and concepts in the loop, through the teacher's
frozen heads; and the text encoder by the teacher's text tokens. Where `start` is the teacher itself, the student takes
the teacher's heads and only its image encoder is new, as in EfficientSAM3: it works as soon as it sees alike.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from esam3_core.config_stage1 import Stage1Config
from esam3_core.convert.tokenizer import build_clip_tokenizer
from esam3_core.distill.answers import check_levels
from esam3_core.distill.cache import Cache, open_views
from esam3_core.distill.features import Adapters, feature_losses, token_losses
from esam3_core.distill.stage import Stage
from esam3_core.distill.stage1_batches import FeatureBatch, Stage1Batches
from esam3_core.distill.stage1_loop import concept_loss, first_prompts, prompt_loss
from esam3_core.distill.stage3 import start_from, take_text
from esam3_core.distill.teacher import Levels, TeacherError, open_teacher
from esam3_core.distill.teacher_student import take_heads
from esam3_core.distill.views import Views
from esam3_core.nn.student import Features, Student
from esam3_core.nn.text import save_text_encoder
from esam3_core.nn.trunk import load_imagenet

TOP = 1  # queries of the teacher's concept heads that are computed to the mask; only its map of places is learnt from
STEM = "image_encoder.trunk."


class Stage1(Stage):
    """What the fit loop needs.

    Args:
        config: of the run.

    Raises:
        TeacherError: the teacher cannot be opened, or cannot do what a weight above 0 asks for.
        CacheError: the cache is stale or incomplete.
    """

    helpers: nn.ModuleDict

    def __init__(self, config: Stage1Config) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.student = Student(config.student)
        if config.text:
            take_text(self.student, Path(config.text))
        self.has_imagenet = config.imagenet and config.student.variant == "en_s"
        if self.has_imagenet:
            load_imagenet(self.student.image_encoder.trunk)
        self.tokenizer = open_tokenizer(config)
        self.teacher = open_teacher(config.teacher)
        self.has_heads = bool(config.start) and config.start == config.teacher.path
        if self.has_heads:
            take_heads(self.student, self.teacher, self.tokenizer)
        elif config.start:
            start_from(self.student, Path(config.start))
        self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.levels = self._wanted_levels()
        adapters = Adapters(config.student.width, self.teacher, self.levels, self.has_heads)
        helpers: dict[str, nn.Module] = {"adapters": adapters}
        if config.text_weight:
            helpers["text"] = self._text_adapter()
        self.helpers = nn.ModuleDict(helpers)

    def _wanted_levels(self) -> tuple[str, ...]:
        """Levels to learn: those of the cache, and those that the teacher's heads read."""
        config, teacher = self.config, self.teacher
        check_levels(teacher, config.cache.levels)
        wanted = list(config.cache.levels)
        for weight, levels, what in (
            (config.prompt_weight, teacher.prompted_levels, "prompt"),
            (config.concept_weight, teacher.concept_levels, "concept"),
        ):
            if weight and not levels:
                raise TeacherError(
                    f"this teacher has no {what} heads: set {what}_weight to 0, or choose another teacher"
                )
            wanted += [name for name in levels if weight and name not in wanted]
        lacking = [n for n in teacher.concept_levels if config.concept_weight and n not in config.cache.levels]
        if config.cache.folder and lacking:
            raise TeacherError(
                f"concepts in the loop need the teacher's {', '.join(lacking)}: add them to cache.levels and fill the "
                "cache again, or set concept_weight to 0"
            )
        return tuple(wanted)

    def _text_adapter(self) -> nn.Module:
        """From the student's channels of text tokens to the teacher's."""
        ids, tokens, _ = self.teacher.text(["red cup"])
        ours = torch.tensor(self.tokenizer.encode("red cup").ids)
        length = min(len(ours), ids.shape[1])
        if not torch.equal(ours[:length], ids[0, :length].cpu()):
            raise TeacherError(
                "student and teacher cut phrases into other pieces: use text.kind clip, or text_weight 0"
            )
        return nn.Linear(self.config.student.width, tokens.shape[-1])

    @cached_property
    def views(self) -> Views:
        """All that the run can see."""
        config = self.config
        return open_views(config)

    def batches(self, first: int) -> Stage1Batches:
        """Batches by number."""
        config = self.config
        cache = Cache(config.cache, self.views, self.teacher.key) if config.cache.folder else None
        return Stage1Batches(config, self.views, cache)

    def parameters(self) -> list[dict[str, object]]:
        """Trunk at its own rate; neck, adapters and, where it learns, the text encoder at theirs. No other part."""
        trunk, rest = [], list(self.helpers.parameters())
        for name, parameter in self.student.named_parameters():
            if name.startswith(STEM):
                trunk.append(parameter)
            elif name.startswith("image_encoder.") or (self.config.text_weight and name.startswith("text_encoder.")):
                rest.append(parameter)
            else:
                parameter.requires_grad_(False)
        return [{"params": rest, "rate": self.config.rate}, {"params": trunk, "rate": self.config.trunk_rate}]

    def train_mode(self, step: int) -> None:
        """Training mode; a trunk that comes from ImageNet or another run keeps its statistics."""
        self.student.train()
        self.helpers.train()
        if self.has_imagenet or (self.config.start and not self.has_heads):
            for module in self.student.image_encoder.trunk.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()

    def to(self, device: torch.device) -> None:
        """Move the teacher."""
        self.teacher.to(device)

    def loss(self, batch: FeatureBatch) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of all terms, and each for the log."""
        config = self.config
        features = self.student.image_encoder(batch.frames)
        ours: Levels = self.helpers["adapters"](features)
        theirs = batch.levels or self.teacher.features(batch.frames)
        terms = feature_losses(ours, theirs, batch.valid)
        weights = {"mse": config.mse_weight, "cosine": config.cosine_weight}
        if config.prompt_weight:
            terms["prompt"] = self._prompt_term(ours, theirs, batch)
            weights["prompt"] = config.prompt_weight
        if config.concept_weight:
            terms["concept"] = self._concept_term(ours, theirs, batch)
            weights["concept"] = config.concept_weight
        if config.text_weight:
            terms |= self._text_terms(batch)
            weights |= {"text_mse": config.text_weight, "text_cosine": config.text_weight}
        total = sum((weights[name] * value for name, value in terms.items()), batch.valid.new_zeros(()))
        return total, {name: float(value.detach()) for name, value in terms.items()}

    def _prompt_term(self, ours: Levels, theirs: Levels, batch: FeatureBatch) -> Tensor:
        if not len(batch.boxes):
            return sum_of_nothing(ours)
        frame, masks = batch.prompt_frame, batch.masks
        if masks is None:
            with torch.no_grad():
                points, labels = first_prompts(batch.boxes, batch.boxes.new_zeros(len(frame), 1, 1), 0, _chance(0))
                masks = self.teacher.prompted(theirs, frame, points, labels).masks.sigmoid()
        chance = _chance(self.config.seed * 1_000_003 + batch.number)
        return prompt_loss(self.teacher, ours, frame, batch.boxes, masks, self.config.rounds, chance)

    def _concept_term(self, ours: Levels, theirs: Levels, batch: FeatureBatch) -> Tensor:
        if not batch.concepts:
            return sum_of_nothing(ours)
        with torch.no_grad():
            told = self.teacher.concepts(theirs, batch.concept_frame, batch.concepts, TOP)
        return concept_loss(self.teacher.concepts(ours, batch.concept_frame, batch.concepts, TOP), told)

    def _text_terms(self, batch: FeatureBatch) -> dict[str, Tensor]:
        _, tokens, pad = self.teacher.text(batch.texts)
        ids = torch.tensor([e.ids for e in self.tokenizer.encode_batch(batch.texts)], device=tokens.device)
        length = min(ids.shape[1], tokens.shape[1])
        ours = self.helpers["text"](self.student.text_encoder(ids))
        return token_losses(ours[:, :length], tokens[:, :length], pad[:, :length])

    @torch.no_grad()
    def draw(self, student: Student, batch: FeatureBatch, picture: Path) -> None:
        """Each view, the teacher's coarsest features and the student's, their three main directions as colours."""
        student.eval()
        name = self.levels[0]
        device = self.device
        found = student.to(device).image_encoder(batch.frames.to(device))
        ours = self.helpers["adapters"](Features(found.p16, found.p8, found.p4))[name].float().cpu()
        theirs = batch.levels.get(name)
        if theirs is None:
            theirs = self.teacher.features(batch.frames.to(device))[name].float().cpu()
        pictures = zip(batch.frames.numpy(), *_coloured(theirs, ours, self.config.size), strict=True)
        tiles = [np.vstack(row) for row in pictures]
        cv2.imwrite(str(picture), cv2.cvtColor(np.hstack(tiles), cv2.COLOR_RGB2BGR))

    def finish(self, folder: Path) -> None:
        """Write the text encoder that has learnt here, as stage 3 wants it."""
        if not self.config.text_weight:
            return
        text = folder / "text"
        text.mkdir(exist_ok=True)
        save_text_encoder(self.student.text_encoder, text)
        self.tokenizer.save(str(text / "tokenizer.json"))

    @property
    def device(self) -> torch.device:
        """Where the student is."""
        return next(self.student.parameters()).device


def _coloured(theirs: Tensor, ours: Tensor, size: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps [B, C, h, w] as pictures [size, size, 3], by the main directions of the teacher's."""
    rows = theirs.permute(0, 2, 3, 1).flatten(0, 2)  # [B h w, C]
    mean = rows.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        directions = torch.pca_lowrank(rows - mean, 3, center=False)[2]
    spread = ((rows - mean) @ directions).std(0).clamp(min=1e-6)
    pictures = []
    for maps in (theirs, ours):
        shade = ((maps.permute(0, 2, 3, 1) - mean) @ directions / (4 * spread) + 0.5).clamp(0, 1)
        small = (shade * 255).to(torch.uint8).numpy()
        pictures.append([cv2.resize(x, (size, size), interpolation=cv2.INTER_NEAREST) for x in small])
    return pictures[0], pictures[1]


def _chance(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def sum_of_nothing(levels: Levels) -> Tensor:
    """Zero that still depends on the levels, so that every process takes the same way back."""
    return sum((x.sum() * 0.0 for x in levels.values()), torch.zeros((), device=next(iter(levels.values())).device))


def open_tokenizer(config: Stage1Config) -> Tokenizer:
    """The student's tokenizer: of its text encoder's folder, or CLIP's.

    Raises:
        ValueError: the student's text encoder needs a folder.
    """
    if config.text:
        return Tokenizer.from_file(str(Path(config.text) / "tokenizer.json"))
    if config.student.text.kind == "clip":
        return build_clip_tokenizer(config.student.text.context)
    if config.text_weight:
        raise ValueError("a sentence text encoder learns from sentences: set text to its folder, or text_weight to 0")
    return build_clip_tokenizer(config.student.text.context)
