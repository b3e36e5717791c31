# SPDX-License-Identifier: Apache-2.0
"""Shift a trained student's scores so that 0.5 is the right threshold.

Focal losses leave a student unsure of itself. Two numbers, one added to every query's logit and one to the presence
logit, are chosen on pictures it never trained on; both end up inside the exported graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from esam3_core.data.augment import view
from esam3_core.distill.batches import Source, collate
from esam3_core.distill.boxes import generalised_iou
from esam3_core.distill.matching import match
from esam3_core.distill.prompts import choose_prompts
from esam3_core.nn.student import Student
from esam3_core.nn.text import pad_mask

HIT_IOU = 0.5  # box overlap from which a query has found its instance
SHIFTS = np.arange(-4.0, 4.01, 0.25)  # candidates for both logits


@dataclass(frozen=True)
class Calibration:
    """What is added to the logits, and the F1 at 0.5 before and after."""

    query: float
    presence: float
    f1_before: float
    f1_after: float


@dataclass
class Answers:
    """What the student says of many (picture, prompt) pairs."""

    logits: np.ndarray  # [C, Q]
    presence: np.ndarray  # [C]
    right: np.ndarray  # bool [C, Q]: the query has found an instance, and no other query has found it better
    instances: int  # to be found


@torch.no_grad()
def collect(student: Student, tokenizer: Path, sources: list[Source], pictures: int, size: int) -> Answers:
    """Ask about `pictures` pictures of every source, undisturbed, at S = `size`."""
    tokens = Tokenizer.from_file(str(tokenizer))
    rng = np.random.default_rng(0)
    logits, presence, right, instances = [], [], [], 0
    chosen = [(s, int(i)) for s in sources for i in rng.permutation(len(s))[:pictures]]
    for source, index in tqdm(chosen, unit="picture", desc="calibrate"):
        seen = view(source[index], size, None)
        prompts = choose_prompts(seen.sample, 4, [], rng)
        if not prompts:
            continue
        batch = collate([(seen, prompts)], tokens)
        features = student.image_encoder(batch.frames).take(batch.pair_frame)
        out = student.detect(features, student.text_encoder(batch.tokens), pad_mask(batch.tokens))
        last, boxes = out.decoded.logits[-1], out.decoded.boxes[-1]
        hits = torch.zeros_like(last, dtype=torch.bool)
        for row, (queries, owners) in enumerate(match(last, boxes, batch.boxes)):
            overlap = generalised_iou(boxes[row, queries], batch.boxes[row][owners])
            hits[row, queries[overlap > HIT_IOU]] = True
        logits.append(last.numpy())
        presence.append(out.decoded.presence[-1].numpy())
        right.append(hits.numpy())
        instances += sum(len(b) for b in batch.boxes)
    return Answers(np.concatenate(logits), np.concatenate(presence), np.concatenate(right), instances)


def fit_shifts(answers: Answers) -> Calibration:
    """The two shifts with the best F1 at a score of 0.5, absent concepts included."""
    best = max(product(SHIFTS, SHIFTS), key=lambda shifts: f1(answers, *shifts))
    return Calibration(float(best[0]), float(best[1]), f1(answers, 0.0, 0.0), f1(answers, *best))


def f1(answers: Answers, query: float, presence: float) -> float:
    """F1 of queries that score 0.5 or more once the logits are shifted."""
    scores = _sigmoid(answers.logits + query) * _sigmoid(answers.presence + presence)[:, None]
    kept = scores >= 0.5
    hits = int((kept & answers.right).sum())
    return 2 * hits / max(1, int(kept.sum()) + answers.instances)


@torch.no_grad()
def apply_shifts(student: Student, calibration: Calibration) -> None:
    """Build the shifts into the student's last layers, in place."""
    student.detector.decoder.score.bias += calibration.query
    student.detector.decoder.presence.layers[-1].bias += calibration.presence


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))
