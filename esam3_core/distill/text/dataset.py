# SPDX-License-Identifier: Apache-2.0
"""What one training step of the text encoder needs, as arrays: tokens, target embeddings, class labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from esam3_core.distill.text.lexicon import ATTRIBUTES, CLAIMED
from esam3_core.distill.text.phrases import Phrase, is_held_out
from esam3_core.distill.text.teacher import EMBEDDING, TextTeacher

EMPHASIS = 1.6  # how far a target moves from its noun along the teacher's own attribute direction (1 = as the teacher)
SYNONYM_PULL = 0.5  # share of the canonical phrase in the target of a synonym
UNKNOWN = -1.0  # label that takes no part in the loss


@dataclass
class TextData:
    """The corpus as tensors, one row per phrase."""

    tokens: Tensor  # int64 [N, L]
    targets: Tensor  # [N, E] unit norm
    labels: Tensor  # [N, nouns + attributes] 0, 1 or UNKNOWN
    claimed: Tensor  # bool [N], the phrase means a claimed noun
    held_out: Tensor  # bool [N]

    def rows(self, include_held_out: bool) -> tuple[Tensor, Tensor]:
        """Indices of the phrases about claimed nouns and of the others."""
        usable = ~self.held_out | include_held_out
        return (usable & self.claimed).nonzero()[:, 0], (usable & ~self.claimed).nonzero()[:, 0]


def strings_of(phrases: list[Phrase]) -> list[str]:
    """Every string whose teacher embedding the targets need, sorted."""
    return sorted(
        {s for p in phrases for s in (p.text, p.noun, p.canonical, p.canonical_noun) if s}
    )


def cached_embeddings(strings: list[str], path: Path) -> NDArray[np.float16]:
    """Teacher embeddings [len(strings), 384]; those that `path` does not hold yet are computed and added to it."""
    known: dict[str, int] = {}
    table = np.zeros((0, EMBEDDING), np.float16)
    if path.exists():
        with np.load(path) as stored:
            table = stored["embeddings"]
            known = {s: i for i, s in enumerate(stored["strings"].tolist())}
    missing = [s for s in strings if s not in known]
    if missing:
        table = np.concatenate([table, TextTeacher().embed(missing, progress=True).astype(np.float16)])
        known.update({s: len(known) + i for i, s in enumerate(missing)})
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, embeddings=table, strings=np.array(list(known)))
    return table[[known[s] for s in strings]]


def unit(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length one."""
    return x / np.linalg.norm(x, axis=-1, keepdims=True).clip(1e-6)


def make_targets(
    phrases: list[Phrase], strings: list[str], embeddings: NDArray[np.float16]
) -> NDArray[np.float32]:
    """Target embeddings [N, E]: the teacher's, with attributes emphasised and synonyms drawn to their claimed noun.

    The teacher puts "red cup" and "blue cup" close together (cosine about 0.8): a detector must tell them apart.
    """
    row = {s: i for i, s in enumerate(strings)}
    table = embeddings.astype(np.float32)

    def emphasised(texts: list[str], nouns: list[str]) -> NDArray[np.float32]:
        full = table[[row[t] for t in texts]]
        base = table[[row[n or t] for t, n in zip(texts, nouns, strict=True)]]
        return unit(base + EMPHASIS * (full - base))

    own = emphasised([p.text for p in phrases], [p.noun for p in phrases])
    canonical = emphasised([p.canonical for p in phrases], [p.canonical_noun for p in phrases])
    return unit((1 - SYNONYM_PULL) * own + SYNONYM_PULL * canonical)


def make_labels(phrases: list[Phrase]) -> NDArray[np.float32]:
    """Multi-hot labels [N, len(CLAIMED) + len(ATTRIBUTES)]."""
    column = {name: i for i, name in enumerate((*CLAIMED, *ATTRIBUTES))}
    labels = np.zeros((len(phrases), len(column)), np.float32)
    for row, phrase in zip(labels, phrases, strict=True):
        if phrase.claims is None:
            row[: len(CLAIMED) if phrase.noun else None] = UNKNOWN
        for name in (*(phrase.claims or ()), *phrase.attributes):
            row[column[name]] = 1.0
    return labels


def encode(tokenizer: Tokenizer, texts: list[str]) -> Tensor:
    """Token ids int64 [len(texts), L]."""
    return torch.tensor([e.ids for e in tokenizer.encode_batch(texts)])


def build_data(
    phrases: list[Phrase], tokenizer: Tokenizer, strings: list[str], embeddings: NDArray[np.float16]
) -> TextData:
    """Turn the corpus into tensors."""
    texts = [p.text for p in phrases]
    return TextData(
        tokens=encode(tokenizer, texts),
        targets=torch.from_numpy(make_targets(phrases, strings, embeddings)),
        labels=torch.from_numpy(make_labels(phrases)),
        claimed=torch.tensor([bool(p.claims) for p in phrases]),
        held_out=torch.tensor([is_held_out(t) for t in texts]),
    )
