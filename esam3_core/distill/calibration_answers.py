# SPDX-License-Identifier: Apache-2.0
"""What a student says of pictures it never trained on, question by question: what its scores are calibrated on.

Questions, masks and what counts as found are those of `esam3 eval`, so that what is chosen here is what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from tqdm import tqdm

from esam3_core.config import DetectorConfig
from esam3_core.data.augment import View, view
from esam3_core.data.scenes import SceneShards
from esam3_core.distill.batches import Source, collate
from esam3_core.distill.prompts import Prompt
from esam3_core.metrics.concepts import IOUS
from esam3_core.metrics.questions import real_questions, scene_questions
from esam3_core.nn.scoring import PromptScore
from esam3_core.nn.student import Student
from esam3_core.nn.text import pad_mask
from esam3_core.scenes.vocabulary import NOUNS

QUESTIONS = 10  # of each picture
DROPPED = -50.0  # logit of a duplicate
DENSE = (1.0, 1.5, 2.0, 3.0)  # candidates for the weight of the proposals' logits
CORRECTIONS = (0.0, 0.5, 1.0)  # candidates for that of the decoder's
Weights = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass
class Answers:
    """What the student says of many (picture, prompt) pairs."""

    logits: np.ndarray  # [C, Q]
    presence: np.ndarray  # [C]
    right: np.ndarray  # float [C, Q]: at which share of the IoUs of cgF1 the query has found an instance of its own
    truths: np.ndarray  # int [C], instances to be found


@torch.no_grad()
def collect(
    student: Student,
    tokenizer: Path,
    sources: Sequence[tuple[Source, int]],
    size: int,
    weights: Weights = (DENSE, CORRECTIONS),
    level: float = 0.0,
) -> dict[tuple[float, float], Answers]:
    """Ask about pictures, undisturbed, at S = `size`.

    Args:
        sources: each with the number of its pictures to ask about.
        weights: candidates for that of the proposals' logits, and for that of the decoder's.
        level: mask logit above which a pixel is in a mask.

    Returns:
        The answers for each weight of the proposals' logits and each correction.
    """
    tokens = Tokenizer.from_file(str(tokenizer))
    rng = np.random.default_rng(0)
    rows: dict[tuple[float, float], list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
        pair: [] for pair in product(*weights)
    }
    truths: list[int] = []
    chosen = [(s, int(i)) for s, pictures in sources for i in rng.permutation(len(s))[:pictures]]
    for source, index in tqdm(chosen, unit="picture", desc="calibrate"):
        seen = view(source[index], size, None)
        prompts = _questions(seen, isinstance(source, SceneShards), rng)
        if not prompts:
            continue
        batch = collate([(seen, prompts)], tokens)
        pad = pad_mask(batch.tokens)
        prompt = student.text_encoder(batch.tokens)
        features = student.image_encoder(batch.frames).take(batch.pair_frame)
        fused = student.detector.fuse(features.p16, prompt, pad)
        pixels = student.detector.draw(fused, features.p8, features.p4)
        for dense in weights[0]:
            weigh(student.detector.proposals.score, dense)
            out = student.detector.find(fused, pixels, prompt, pad)
            weigh(student.detector.proposals.score, 1 / dense)
            decoded, score = out.decoded, student.detector.decoder.score
            masks = student.detector.masks(decoded.queries[-1], decoded.boxes[-1], out.pixels) > level  # [C, Q, H, H]
            overlaps = [_overlaps(*row) for row in zip(masks, batch.masks, strict=True)]
            own = score(decoded.queries[-1], score.summary(prompt, pad))  # [C, Q]
            for correction in weights[1]:
                logits = decoded.logits[-1] - (1 - correction) * own
                answer = [_answer(row, *o, student.config.masks) for row, o in zip(logits, overlaps, strict=True)]
                kept, right = (np.stack(part) for part in zip(*answer, strict=True))
                rows[dense, correction].append((kept, decoded.presence[-1].numpy(), right))
        truths += [len(boxes) for boxes in batch.boxes]
    return {pair: _together(answers, truths) for pair, answers in rows.items()}


def weigh(score: PromptScore, weight: float) -> None:
    """Multiply the logits of a score, in place."""
    for parameter in (score.token_out.weight, score.token_out.bias, score.bias):
        parameter.mul_(weight)


def _questions(seen: View, rendered: bool, rng: np.random.Generator) -> list[Prompt]:
    """Some of the questions that an evaluation asks about a picture."""
    asked = scene_questions(seen.sample) if rendered else real_questions(seen.sample, NOUNS)
    some = [asked[i] for i in rng.permutation(len(asked))[:QUESTIONS]]
    return [Prompt(question.phrase, question.phrase, question.hits) for question in some]


def _together(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], truths: list[int]) -> Answers:
    logits, presence, right = (np.concatenate(part) for part in zip(*rows, strict=True))
    return Answers(logits, presence, right, np.array(truths))


def _overlaps(masks: Tensor, targets: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """IoU of each of Q masks [Q, H, H] with each other [Q, Q] and with each of n instances [Q, n]."""
    ours, theirs = masks.flatten(1).float(), (targets > 0.5).flatten(1).float()
    return _iou(ours, ours), _iou(ours, theirs)


def _iou(one: Tensor, other: Tensor) -> np.ndarray:
    """IoU of masks of 0 and 1, [Q, cells] and [n, cells]: [Q, n]."""
    common = one @ other.t()
    return np.asarray((common / (one.sum(1)[:, None] + other.sum(1)[None] - common).clamp(min=1)).numpy())


def _answer(logits: Tensor, same: np.ndarray, hits: np.ndarray, masks: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits [Q] of the queries that the runtime would keep, and at which share of the IoUs each is right [Q].

    Args:
        same: [Q, Q] and hits: [Q, n], see `_overlaps`; masks: how many queries are drawn, the best ones.
    """
    kept, right = np.full(len(logits), DROPPED), np.zeros(len(logits))
    limit = DetectorConfig().duplicate_iou
    best: list[int] = []
    found: list[set[int]] = [set() for _ in IOUS]
    for query in logits.argsort(descending=True).tolist()[:masks]:
        if not same[query, query] or any(same[query, other] > limit for other in best):
            continue  # draws nothing, or what a better one has drawn
        best.append(query)
        kept[query] = float(logits[query])
        for taken, iou in zip(found, IOUS, strict=True):
            free = [i for i in range(hits.shape[1]) if hits[query, i] >= iou and i not in taken]
            if free:
                right[query] += 1 / len(IOUS)
                taken.add(max(free, key=lambda i: float(hits[query, i])))
    return kept, right
