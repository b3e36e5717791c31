# SPDX-License-Identifier: Apache-2.0
"""What each instance of a batch is called, and the loss that teaches the image tokens to say it.

Token by token, a plate weighs a hundred times what a ball does, and small things never get a name. Here every instance
counts once: the mean of its tokens' logits must prefer its own nouns, and its own colour, pattern or material, to all
others (as region and word are aligned in GLIP, section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from esam3_core.data.augment import View
from esam3_core.data.sample import Label, Sample, noun_of, says

MOST_PHRASES = 96  # of a batch that instances are compared with
EDGE = 0.3  # a token speaks for an instance that covers this share of what it covers of its fullest token
LEAST_COVER = 0.05  # of an instance's fullest cell from which it counts as seen
UNKNOWN = -1.0


def label_truth(label: Label, phrases: Sequence[str], checked_only: bool = False) -> list[float]:
    """For each phrase: 1 where it is true of an instance, 0 where it is not, -1 where nobody knows.

    Args:
        checked_only: the label says nothing about words that it does not mention (see `Sample`). What it denies are
            then answers to other questions about the picture, and some may have been about the same thing.
    """
    answers = [says(label, phrase) for phrase in phrases]
    return [UNKNOWN if answer is None or (checked_only and not answer) else float(answer) for answer in answers]


def batch_phrases(samples: Sequence[Sample], rng: np.random.Generator) -> list[str]:
    """Phrases with attributes that are true, or look true, of something in a batch: at most MOST_PHRASES."""
    true = {p for sample in samples for label in sample.labels for p in label.phrases if p != noun_of(p)}
    false = {p for sample in samples for p in sample.absent if p != noun_of(p)}
    ordered = sorted(true | false)
    return [ordered[i] for i in sorted(rng.permutation(len(ordered))[:MOST_PHRASES])]


def token_cover(seen: View) -> np.ndarray:
    """Share of each token's cell that each instance covers: [n, G, G]."""
    cells = seen.ignored.shape[0] // 4
    return seen.masks.reshape(-1, cells, 4, cells, 4).mean((2, 4))


def relative_cover(cover: np.ndarray) -> np.ndarray:
    """Cover [n, G, G] of cells as a share of each instance's fullest one, 0..1: a fork fills no cell, and is one all
    the same."""
    return cover / cover.max((1, 2), keepdims=True, initial=0.0).clip(LEAST_COVER)


def instance_cells(seen: View) -> np.ndarray:
    """How much each token says about each instance: [n, G, G], 1 in all for each instance."""
    cover = token_cover(seen)
    cover = cover * (cover >= EDGE * cover.max((1, 2), keepdims=True, initial=0.0))
    return cover / cover.sum((1, 2), keepdims=True).clip(1e-6)


def naming_loss(logits: Tensor, frame: Tensor, cells: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy of each of an instance's phrases against all phrases that are false of it, and having no name.

    Every true phrase must win by itself: if one were enough, a mug could be called a cup for ever, and "mug" would only
    ever be denied, of the cups that are none.

    Args:
        logits: [B, P, N] of image tokens against phrases; frame: int64 [I], picture of each instance.
        cells: [I, N], see `instance_cells`; truth: [I, P] of 1, 0 or -1, see `label_truth`.

    Returns:
        Mean over the true phrases of an instance, then over the instances of which something is known; 0 if there is
        none.
    """
    own = torch.einsum("ipn,in->ip", logits[frame], cells)  # [I, P]
    own = torch.cat([own, own.new_zeros(len(own), 1)], 1)  # the last: no name at all, whose logit is 0
    nameless = (truth == 0).all(1, keepdim=True).to(truth.dtype)
    truth = torch.cat([truth, nameless], 1)  # [I, P + 1]
    true = (truth == 1).to(own.dtype)
    false = own.masked_fill(truth != 0, torch.finfo(own.dtype).min).logsumexp(1, keepdim=True)  # [I, 1]
    entropy = (functional.softplus(false - own) * true).sum(1) / true.sum(1).clamp(min=1)  # [I]
    return entropy.sum() / true.any(1).sum().clamp(min=1)
