# SPDX-License-Identifier: Apache-2.0
"""Batches of stage 1: views, what to ask about them, and the teacher's answers where a cache holds them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from esam3_core.config_stage1 import Stage1Config
from esam3_core.data.augment import View
from esam3_core.distill.answers import Answer
from esam3_core.distill.cache import Cache
from esam3_core.distill.prompts import choose_prompts
from esam3_core.distill.text.phrases import negative_nouns
from esam3_core.distill.views import Views


@dataclass
class FeatureBatch:
    """B views, P instances to ask for by prompts, C (view, phrase) pairs."""

    number: int
    frames: Tensor  # uint8 [B, S, S, 3]
    valid: Tensor  # [B, 1, S/4, S/4], 1 where there is picture, 0 where there is padding
    levels: dict[str, Tensor]  # the teacher's, [B, C, h, w]; empty = ask the teacher
    prompt_frame: Tensor  # int64 [P]
    boxes: Tensor  # [P, 4] cxcywh
    masks: Tensor | None  # [P, h, w] 0..1, the teacher's; None = ask the teacher
    concept_frame: Tensor  # int64 [C]
    concepts: list[str]  # C
    texts: list[str]  # phrases for the text encoder


class Stage1Batches:
    """Batch number i depends on seed and i alone.

    Args:
        config: of the run.
        views: to draw from.
        cache: with the teacher's answers to them; None = the teacher answers during training.
    """

    def __init__(self, config: Stage1Config, views: Views, cache: Cache | None) -> None:
        self.config, self.views, self.cache = config, views, cache
        self.others = negative_nouns()
        self.phrases = read_phrases(Path(config.phrases)) if config.phrases else self.others

    def batch(self, step: int) -> FeatureBatch:
        """Batch number `step`."""
        config = self.config
        rng = np.random.default_rng([config.seed, step])
        places = [self.views.draw(rng) for _ in range(config.pictures)]
        seen = [self.views[place] for place in places]
        answers = [self.cache[place] for place in places] if self.cache else []
        pick = np.random.default_rng([config.seed, step, 1])  # phrases are the same with and without a cache
        chosen = [self._instances(view, answers[i] if answers else None, pick) for i, view in enumerate(seen)]
        asked = [choose_prompts(view.sample, config.concepts, self.others, rng) for view in seen]
        texts = [self.phrases[i] for i in rng.integers(len(self.phrases), size=config.texts)]
        levels = {}
        if answers:
            levels = {n: torch.from_numpy(np.stack([a.levels[n] for a in answers])) for n in answers[0].levels}
        frames = np.stack([view.image for view in seen])
        return FeatureBatch(
            step,
            torch.from_numpy(frames),
            torch.ones(len(seen), 1, config.size // 4, config.size // 4),
            levels,
            _rows([len(rows) for rows in chosen]),
            self._boxes(seen, answers, chosen),
            self._masks(answers, chosen),
            _rows([len(prompts) for prompts in asked]),
            [prompt.text for prompts in asked for prompt in prompts],
            texts,
        )

    def _instances(self, seen: View, answer: Answer | None, rng: np.random.Generator) -> np.ndarray:
        """Rows of the instances to ask for, among those that the teacher's answer (or the view) has."""
        count = len(answer.instances) if answer else len(seen.boxes)
        return np.sort(rng.permutation(count)[: self.config.prompts])

    def _boxes(self, seen: list[View], answers: list[Answer], chosen: list[np.ndarray]) -> Tensor:
        """Boxes of the chosen instances; where a cache answers, its rows stand for instances of the view."""
        instances = [a.instances[rows] for a, rows in zip(answers, chosen, strict=True)] if answers else chosen
        boxes = [view.boxes[rows] for view, rows in zip(seen, instances, strict=True)]
        return torch.from_numpy(np.concatenate(boxes))

    def _masks(self, answers: list[Answer], chosen: list[np.ndarray]) -> Tensor | None:
        if not answers:
            return None
        drawn = [torch.from_numpy(a.masks[rows]) for a, rows in zip(answers, chosen, strict=True) if len(rows)]
        return torch.cat(drawn) if drawn else torch.zeros(0, 1, 1)


def _rows(counts: list[int]) -> Tensor:
    return torch.cat([torch.full((count,), row, dtype=torch.int64) for row, count in enumerate(counts)])


def read_phrases(path: Path) -> list[str]:
    """The lines of a file that are not empty.

    Raises:
        FileNotFoundError: there is no such file, or nothing in it.
    """
    lines = [line.strip() for line in path.read_text().splitlines()] if path.is_file() else []
    found = [line for line in lines if line]
    if not found:
        raise FileNotFoundError(f"no phrases in {path}: write one per line, or leave `phrases` empty")
    return found
