# SPDX-License-Identifier: Apache-2.0
"""Stage 3, end to end: a student learns to find what a phrase names.

Where `start` is the teacher itself, the student takes its heads, as in stage 1.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from esam3_core.config_fit import SourceConfig
from esam3_core.config_stage3 import DistillConfig
from esam3_core.data.coco import CocoPictures
from esam3_core.data.lvis import LvisPictures
from esam3_core.data.paste import CutOut, cut_outs
from esam3_core.data.real import RealFolder
from esam3_core.data.sa1b import Sa1bShards
from esam3_core.data.saco import SacoPictures
from esam3_core.data.scenes import SceneShards
from esam3_core.data.skips import Tolerant
from esam3_core.deploy.weights import ADDED, load_text_weights, load_weights
from esam3_core.distill.asking import ask
from esam3_core.distill.batches import Batch, Batches, Recipe, Source
from esam3_core.distill.checkpoint_file import CHECKPOINT, load_checkpoint
from esam3_core.distill.losses import LossWeights, Targets, concept_losses, noun_loss
from esam3_core.distill.naming import naming_loss
from esam3_core.distill.samples import draw_samples
from esam3_core.distill.stage import Stage
from esam3_core.distill.taught import Taught
from esam3_core.distill.teacher import open_teacher
from esam3_core.distill.teacher_student import take_heads
from esam3_core.distill.text.phrases import negative_nouns
from esam3_core.nn.detector import Detected
from esam3_core.nn.student import Features, Student
from esam3_core.nn.text import load_text_encoder
from esam3_core.nn.trunk import load_imagenet

UNTRAINED = ("text_encoder.", "memory.", "refiner.")
TEXT_GRAPH = "text_encoder.onnx"  # in a bundle, which may give the text encoder too


class Stage3(Stage):
    """What the fit loop needs: a student, batches, a loss.

    Args:
        config: of the run.
    """

    def __init__(self, config: DistillConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.student = Student(config.student)
        text = Path(config.text)
        self.tokenizer_path = text / "tokenizer.json"
        take_text(self.student, text)
        self.tokenizer = Tokenizer.from_file(str(self.tokenizer_path))
        has_imagenet = config.imagenet and config.student.variant == "en_s"
        teacher = open_teacher(config.teacher) if config.teacher.path else None
        has_heads = teacher is not None and config.start == config.teacher.path
        self.knows_statistics = has_imagenet or bool(config.start and not has_heads)
        if has_imagenet:
            load_imagenet(self.student.image_encoder.trunk)
        if teacher is not None and has_heads:
            take_heads(self.student, teacher, self.tokenizer)
        elif config.start:
            start_from(self.student, Path(config.start))
        # Convolutions are a sixth faster on a CPU with channels last.
        self.student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.shown_share and self.student.exemplar_encoder is None:
            raise ValueError("shown_share needs a student with exemplars: set student.memory.kind, or shown_share to 0")
        self.weights = LossWeights()
        self.only_names = False  # whether the detector waits
        self.taught = None
        if teacher is not None and config.teacher_weight:
            self.taught = Taught(teacher, config.student.width, has_heads)
            self.helpers = self.taught.adapters

    def parameters(self) -> list[dict[str, object]]:
        """Parameter groups with their learning rates; what must not train gets no gradient."""
        trunk, text, rest = [], [], list(self.helpers.parameters())
        for name, parameter in self.student.named_parameters():
            if name.startswith("image_encoder.") and self.config.encoder_frozen:
                parameter.requires_grad_(False)
            elif name.startswith("image_encoder.trunk."):
                short = name.removeprefix("image_encoder.trunk.body.")
                if short.startswith(self.config.frozen):
                    parameter.requires_grad_(False)
                else:
                    trunk.append(parameter)
            elif name.startswith("text_encoder.project."):
                rest.append(parameter)
            elif name.startswith("text_encoder.") and self.config.text_rate:
                text.append(parameter)
            elif name.startswith(UNTRAINED):
                parameter.requires_grad_(False)
            else:
                rest.append(parameter)
        rates = ((rest, self.config.rate), (trunk, self.config.trunk_rate), (text, self.config.text_rate))
        return [{"params": group, "rate": rate} for group, rate in rates if group or group is not text]

    def batches(self, first: int) -> Batches:
        """Batches from number `first` on."""
        config = self.config
        sources, cuts = self._open()
        recipe = Recipe(
            (config.size, config.large_size or config.size),
            config.pictures,
            config.prompts,
            config.paste_share,
            tuple(source.weight for source in config.sources),
            config.shown_share,
            config.student.memory.exemplars,
        )
        return Batches(sources, cuts, negative_nouns(), self.tokenizer, recipe, config.seed, first)

    @cache  # noqa: B019 (one run, one process)
    def _open(self) -> tuple[list[Source], list[CutOut]]:
        """The data sets of the run and the cut-outs of those that give some."""
        sources = [open_source(source) for source in self.config.sources]
        giving = [o for o, s in zip(sources, self.config.sources, strict=True) if s.cut_outs]
        cuts = [cut for opened in giving for i in range(len(opened)) for cut in cut_outs(opened[i])]
        return sources, cuts

    def train_mode(self, step: int) -> None:
        """Training mode; a trunk that has seen pictures keeps its statistics; trunk or detector wait at first."""
        self.only_names = step < self.config.naming_steps
        self.student.train()
        self.student.text_encoder.eval()
        if self.knows_statistics:
            for module in self.student.image_encoder.trunk.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        if self.config.encoder_frozen:
            self.student.image_encoder.eval()
            return
        waits = step < self.config.frozen_steps
        for name, parameter in self.student.image_encoder.trunk.body.named_parameters():
            parameter.requires_grad_(not waits and not name.startswith(self.config.frozen))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of all terms, and each term for the log."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.encoder_frozen):
            features = self.student.image_encoder(batch.frames)
        terms = self.naming_terms(features.p16, batch)
        out = None if self.only_names else self._detect(features, batch)
        if out is not None:
            ignored = batch.ignored[batch.pair_frame]
            targets = Targets(batch.boxes, batch.masks, ignored, (features.p16.shape[2], features.p16.shape[3]))
            terms |= concept_losses(self.student, out, targets)
        total = sum(getattr(self.weights, name) * value for name, value in terms.items())
        assert isinstance(total, Tensor)
        if self.taught is not None and out is not None:
            taught = self.taught.terms(features, out, batch)
            terms |= taught
            total = total + self.config.teacher_weight * torch.stack(list(taught.values())).sum()
        return total, {name: float(value.detach()) for name, value in terms.items()}

    def _detect(self, features: Features, batch: Batch) -> Detected:
        """What the detector says of all pairs; pixels only of those that something is to be found in."""
        p16 = features.p16[batch.pair_frame]
        prompt, pad = ask(self.student, features.p16, batch)
        drawn = torch.tensor([row for row, boxes in enumerate(batch.boxes) if len(boxes)], device=pad.device).long()
        fine = batch.pair_frame[drawn]
        return self.student.detector(p16, features.p8[fine], features.p4[fine], prompt, pad, drawn)

    def to(self, device: torch.device) -> None:
        """Move the teacher."""
        if self.taught is not None:
            self.taught.teacher.to(device)

    def draw(self, student: Student, batch: Batch, picture: Path) -> None:
        """Draw what a student finds in a batch."""
        draw_samples(student, batch, picture)

    def naming_terms(self, p16: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Every image token against every noun of the vocabulary, and every instance against nouns and phrases."""
        tokens = p16.flatten(2).transpose(1, 2)  # [B, N, d]
        texts = torch.cat([batch.noun_tokens, batch.phrase_tokens])  # [nouns + P, L]
        summary = self.student.text_encoder(texts)[:, 0]
        logits = self.student.detector.align.logits(tokens, summary).transpose(1, 2)  # [B, nouns + P, N]
        nouns, phrases = logits.split([len(batch.noun_tokens), len(batch.phrase_tokens)], 1)
        ignored = nn.functional.adaptive_max_pool2d(batch.ignored[:, None], p16.shape[2:]).flatten(1)
        frame, cells = batch.instance_frame, batch.cells.flatten(1)
        return {
            "noun": noun_loss(nouns, batch.noun_target.flatten(2), batch.noun_known, ignored),
            "named": naming_loss(nouns, frame, cells, batch.instance_nouns),
            "phrase": naming_loss(phrases, frame, cells, batch.instance_phrases),
        }


def start_from(student: Student, start: Path) -> None:
    """Give a student the weights of another run (its folder or checkpoint), or of a bundle's folder.

    Memory and exemplar encoder stay new where the start has none or one of other sizes, and are left out where the
    student has none.

    Raises:
        ValueError: any other weight is missing or has another shape, or the file is no checkpoint.
    """
    checkpoint = start / CHECKPOINT if (start / CHECKPOINT).is_file() else start
    if checkpoint.is_dir():
        load_weights(student, checkpoint)
        return
    weights = load_checkpoint(checkpoint)["average"]
    own = student.state_dict()
    lacking = [name for name in own if name not in weights and not name.startswith(ADDED)]
    if lacking:
        raise ValueError(f"{checkpoint} lacks {lacking[0]}: it was trained with another student section")
    other = [n for n in own if n in weights and not n.startswith(ADDED) and weights[n].shape != own[n].shape]
    if other:
        shapes = f"{list(weights[other[0]].shape)}, not {list(own[other[0]].shape)}"
        raise ValueError(f"{other[0]} of {checkpoint} has shape {shapes}: it was trained with another student section")
    known = {
        name: value for name, value in weights.items()
        if name in own and not (name.startswith(ADDED) and value.shape != own[name].shape)
    }  # fmt: skip
    student.load_state_dict(known, strict=False)


def take_text(student: Student, folder: Path) -> None:
    """Give a student the text encoder of a folder: one that was trained by itself, or a bundle's."""
    if (folder / TEXT_GRAPH).is_file():
        load_text_weights(student, folder)
    else:
        student.text_encoder = load_text_encoder(folder, student.config.text, student.config.width)


def open_source(source: SourceConfig) -> Source:
    """Open one data set of a run: its training part.

    Raises:
        ValueError: for a kind that does not exist.
    """
    path, pictures = Path(source.path), Path(source.pictures or ".")
    if source.kind == "scenes":
        return SceneShards(path)
    if source.kind == "real":
        return RealFolder(path, "train")
    if source.kind == "sa1b":
        return Tolerant(Sa1bShards(path))
    if source.kind == "saco":
        return Tolerant(SacoPictures([path], pictures))
    if source.kind == "coco":
        return Tolerant(CocoPictures(path, pictures))
    if source.kind == "lvis":
        return Tolerant(LvisPictures(path, pictures))
    raise ValueError(f"source kind {source.kind!r} is not known: use scenes, real, sa1b, saco, coco or lvis")
