# SPDX-License-Identifier: Apache-2.0
"""How often a student's image tokens know what an instance is called, apart from finding it."""

from __future__ import annotations

import math
from collections import Counter

import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from esam3_core.data.augment import view
from esam3_core.data.sample import Samples
from esam3_core.distill.naming import instance_cells, label_truth
from esam3_core.metrics.evaluate import chosen
from esam3_core.nn.student import Student
from esam3_core.scenes.vocabulary import NOUNS, closest_noun


@torch.no_grad()
def naming_score(student: Student, tokenizer: Tokenizer, source: Samples, size: int, limit: int) -> dict[str, float]:
    """Ask which of all nouns each instance of whole pictures is.

    Args:
        size: S, pixels; limit: pictures.

    Returns:
        `instances` asked about; `right`, the share in percent of those of which a true noun won ("cup" of a mug); the
        same for each noun, and `mean`, the mean of those; `own`, the share whose closest noun ("mug") won over all that
        are false. nan where nothing was asked.
    """
    tokens = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(NOUNS))])
    summary = student.text_encoder(tokens)[:, 0]
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    own = 0
    for index in tqdm(chosen(len(source), limit), unit="picture"):
        seen = view(source[index], size, None)
        p16 = student.image_encoder(torch.from_numpy(seen.image)[None]).p16
        logits = student.detector.align.logits(p16.flatten(2).transpose(1, 2), summary)[0]  # [N, nouns]
        said = torch.from_numpy(instance_cells(seen)).flatten(1) @ logits  # [n, nouns]
        for label, row in zip(seen.sample.labels, said, strict=True):
            truth = label_truth(label, NOUNS, seen.sample.checked_only)
            noun = int(row.argmax())
            if 1.0 not in truth or truth[noun] < 0:  # nothing to say, or nobody knows
                continue
            name = closest_noun([noun for noun, true in zip(NOUNS, truth, strict=True) if true == 1.0])
            asked[name] += 1
            right[name] += int(truth[noun] == 1.0)
            false = [float(logit) for logit, true in zip(row, truth, strict=True) if true == 0.0]
            own += int(float(row[NOUNS.index(name)]) > max(false, default=-math.inf))
    if not asked:
        return {"instances": 0, "right": float("nan"), "mean": float("nan"), "own": float("nan")}
    by_noun = {noun: 100 * right[noun] / count for noun, count in sorted(asked.items())}
    total = sum(asked.values())
    mean = sum(by_noun.values()) / len(by_noun)
    return {
        "instances": total,
        "right": 100 * sum(right.values()) / total,
        "mean": mean,
        "own": 100 * own / total,
        **by_noun,
    }
