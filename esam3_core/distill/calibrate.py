# SPDX-License-Identifier: Apache-2.0
"""Adjust a trained student's scores so that 0.5 is the right threshold: the one with the best cgF1 of boxes.

Focal losses leave a student unsure of itself, and a decoder that has seen few pictures corrects its proposals for the
worse. Four numbers are chosen on pictures the student never trained on, and end up inside the exported graph: how much
the proposals' logits count beside the alignment, how much of the decoder's correction counts, and what is added to
every query's logit and to the presence logit.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from tqdm import tqdm

from esam3_core.data.augment import view
from esam3_core.distill.batches import Source, collate
from esam3_core.distill.boxes import generalised_iou
from esam3_core.distill.prompts import choose_prompts
from esam3_core.nn.scoring import PromptScore
from esam3_core.nn.student import Student
from esam3_core.nn.text import pad_mask

HIT_IOU = 0.7  # generalised IoU of boxes from which a query has found its instance: about the middle of what cgF1 asks
DUPLICATE_IOU = 0.5  # from which two queries have found the same; the runtime drops the worse one
DIGITS = 4  # of a cgF1 that count
DROPPED = -50.0  # logit of a duplicate
DENSE = (1.0, 1.5, 2.0, 3.0)  # candidates for the weight of the proposals' logits
CORRECTIONS = (0.0, 0.5, 1.0)  # candidates for that of the decoder's
SHIFTS = np.arange(-4.0, 4.01, 0.25)  # candidates for both logits


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """What is done to the logits, and the cgF1 of boxes (0..1) at 0.5 before and after."""

    dense: float  # weight of the proposals' logits; the alignment's is 1
    correction: float  # share of the decoder's correction that counts
    query: float
    presence: float
    cg_f1_before: float
    cg_f1_after: float


@dataclass
class Answers:
    """What the student says of many (picture, prompt) pairs."""

    logits: np.ndarray  # [C, Q]
    presence: np.ndarray  # [C]
    right: np.ndarray  # bool [C, Q]: the query has found an instance, and no other query has it already
    truths: np.ndarray  # int [C], instances to be found


@torch.no_grad()
def collect(
    student: Student,
    tokenizer: Path,
    sources: list[Source],
    pictures: int,
    size: int,
    weights: tuple[tuple[float, ...], tuple[float, ...]] = (DENSE, CORRECTIONS),
) -> dict[tuple[float, float], Answers]:
    """Ask about `pictures` pictures of every source, undisturbed, at S = `size`.

    Returns:
        The answers for each weight of the proposals' logits and each correction.
    """
    tokens = Tokenizer.from_file(str(tokenizer))
    rng = np.random.default_rng(0)
    rows: dict[tuple[float, float], list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
        pair: [] for pair in product(*weights)
    }
    truths: list[int] = []
    chosen = [(s, int(i)) for s in sources for i in rng.permutation(len(s))[:pictures]]
    for source, index in tqdm(chosen, unit="picture", desc="calibrate"):
        seen = view(source[index], size, None)
        prompts = choose_prompts(seen.sample, 4, [], rng)
        if not prompts:
            continue
        batch = collate([(seen, prompts)], tokens)
        pad = pad_mask(batch.tokens)
        prompt = student.text_encoder(batch.tokens)
        features = student.image_encoder(batch.frames).take(batch.pair_frame)
        for dense in weights[0]:
            _weigh(student.detector.proposals.score, dense)
            out = student.detect(features, prompt, pad).decoded
            _weigh(student.detector.proposals.score, 1 / dense)
            score = student.detector.decoder.score
            own = score(out.queries[-1], score.summary(prompt, pad))  # [C, Q]
            for correction in weights[1]:
                logits = out.logits[-1] - (1 - correction) * own
                answer = [_answer(*row) for row in zip(logits, out.boxes[-1], batch.boxes, strict=True)]
                kept, right = (np.stack(part) for part in zip(*answer, strict=True))
                rows[dense, correction].append((kept, out.presence[-1].numpy(), right))
        truths += [len(boxes) for boxes in batch.boxes]
    return {pair: _together(answers, truths) for pair, answers in rows.items()}


def _weigh(score: PromptScore, weight: float) -> None:
    """Multiply the logits of a score, in place."""
    for parameter in (score.token_out.weight, score.token_out.bias, score.bias):
        parameter.mul_(weight)


def _together(rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]], truths: list[int]) -> Answers:
    logits, presence, right = (np.concatenate(part) for part in zip(*rows, strict=True))
    return Answers(logits, presence, right, np.array(truths))


def _answer(logits: torch.Tensor, boxes: torch.Tensor, targets: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Logits [Q] with duplicates dropped, and which queries [Q] have each found an instance of their own."""
    kept, right = np.full(len(logits), DROPPED), np.zeros(len(logits), bool)
    same = generalised_iou(boxes[:, None], boxes[None]) > DUPLICATE_IOU
    hits = generalised_iou(boxes[:, None], targets[None]) if len(targets) else boxes.new_zeros(len(boxes), 0)
    best: list[int] = []
    found: set[int] = set()
    for query in logits.argsort(descending=True).tolist():
        if any(same[query, other] for other in best):
            continue
        best.append(query)
        kept[query] = float(logits[query])
        free = [i for i in range(hits.shape[1]) if hits[query, i] > HIT_IOU and i not in found]
        if free:
            right[query] = True
            found.add(max(free, key=lambda i: float(hits[query, i])))
    return kept, right


def fit_shifts(answers: dict[tuple[float, float], Answers]) -> Calibration:
    """The adjustment with the best cgF1 at a score of 0.5; of equally good ones, that which changes the student least.

    A student that none makes better stays as it is.
    """
    before = cg_f1(answers[1.0, 1.0], 0.0, 0.0)
    options = [(cg_f1(a, q, p), *w, float(q), float(p)) for w, a in answers.items() for q, p in product(SHIFTS, SHIFTS)]
    after, dense, correction, query, presence = max(options, key=_worth)
    if round(after, DIGITS) <= round(before, DIGITS):
        logger.warning("calibration changes nothing: no adjustment of the scores is better than a cgF1 of %.4f", before)
        return Calibration(1.0, 1.0, 0.0, 0.0, before, before)
    return Calibration(dense, correction, query, presence, before, after)


def _worth(option: tuple[float, ...]) -> tuple[float, ...]:
    """By what (cgF1, weight of proposals, share of correction, shift of queries, shift of presence) are compared."""
    after, dense, correction, query, presence = option
    return round(after, DIGITS), -abs(query) - abs(presence), -abs(dense - 1), correction


def cg_f1(answers: Answers, query: float, presence: float) -> float:
    """cgF1 of queries that score 0.5 or more once the logits are shifted (official rule, boxes at one IoU).

    How well boxes are found where the concept is, times how well "found something" tells where it is: counted as one
    F1 over all pairs, the many pairs without an instance would make the student say nothing.
    """
    scores = _sigmoid(answers.logits + query) * _sigmoid(answers.presence + presence)[:, None]
    kept = scores >= 0.5
    there, found = answers.truths > 0, kept.any(1)
    hits = np.count_nonzero(kept & answers.right)
    f1 = 2 * hits / max(1, np.count_nonzero(kept[there]) + int(answers.truths.sum()))
    return float(f1 * _correlation(there, found))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Matthews correlation of two bool [C]; 0 where either is always the same."""
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread else 0.0


@torch.no_grad()
def apply_shifts(student: Student, calibration: Calibration) -> None:
    """Build the adjustment into the student's last layers, in place."""
    _weigh(student.detector.proposals.score, calibration.dense)
    score = student.detector.decoder.score
    _weigh(score, calibration.correction)
    score.bias.add_(calibration.query)
    last = student.detector.decoder.presence.layers[-1]
    assert isinstance(last, nn.Linear)
    last.bias.add_(calibration.presence)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
