# SPDX-License-Identifier: Apache-2.0
"""Samples of several sources, augmented, with prompts, as batches of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import IterableDataset

from esam3_core.data.augment import View, view
from esam3_core.data.paste import CutOut, by_noun, paste
from esam3_core.data.sample import Label, Sample, truth
from esam3_core.distill.naming import batch_phrases, instance_cells, label_truth, relative_cover, token_cover
from esam3_core.distill.prompts import Prompt, choose_prompts, reworded
from esam3_core.distill.showing import show, show_elsewhere
from esam3_core.scenes.vocabulary import NOUNS

REWORDED_SHARE = 0.3  # of the nouns that instances are compared with


class Source(Protocol):
    """Anything with samples."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


@dataclass
class Batch:
    """B pictures and C (picture, prompt) pairs. G = S / 16, cells of the image tokens; H = S / 4."""

    frames: Tensor  # uint8 [B, S, S, 3]
    pair_frame: Tensor  # int64 [C], which picture a pair asks about
    tokens: Tensor  # int64 [C, L]
    boxes: list[Tensor]  # C x [n, 4] cxcywh of the instances each pair is true of
    masks: list[Tensor]  # C x [n, H, H]
    ignored: Tensor  # [B, H, H]
    noun_target: Tensor  # [B, nouns, G, G], see `noun_cells`
    noun_known: Tensor  # [B, nouns], 1 where the answer is known
    cells: Tensor  # [I, G, G], how much each token says about each instance
    instance_frame: Tensor  # int64 [I], picture of each instance
    noun_tokens: Tensor  # int64 [nouns, L], the vocabulary, some of it put in other words
    instance_nouns: Tensor  # [I, nouns], 1 where a noun is true of an instance, 0 where not, -1 = unknown
    phrase_tokens: Tensor  # int64 [P, L], phrases with attributes
    instance_phrases: Tensor  # [I, P], as `instance_nouns`
    texts: list[str]  # C
    named: Tensor  # bool [C], whether the text is said
    examples: Tensor  # [C, E, 4] cxcywh of exemplars; E = 0 where nothing is shown
    example_frame: Tensor  # int64 [C], which picture the exemplars lie in
    example_labels: Tensor  # int64 [C, E], 1 = such a thing, 0 = not such a thing, -1 = padding


@dataclass(frozen=True)
class Recipe:
    """How batches are mixed."""

    sizes: tuple[int, ...]  # S of one batch after the other, over and over
    pictures: int  # B
    prompts: int  # per picture
    paste_share: float  # of pictures that get cut-outs
    weights: tuple[float, ...]  # of the sources
    shown_share: float = 0.0  # of true prompts that exemplars show
    room: int = 0  # E, exemplars of one concept


class Batches(IterableDataset[Batch]):
    """Endless batches. Batch number i depends on seed and i alone, so a resumed run sees what it would have seen.

    Args:
        sources: data sets, drawn by `recipe.weights`.
        cuts: cut-outs for pasting.
        others: nouns outside the vocabulary, to deny.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        cuts: Sequence[CutOut],
        others: list[str],
        tokenizer: Tokenizer,
        recipe: Recipe,
        seed: int,
        first: int = 0,
    ) -> None:
        self.sources, self.others = sources, others
        self.cuts = by_noun(cuts)
        self.tokenizer, self.recipe, self.seed, self.first = tokenizer, recipe, seed, first

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        step, stride = (self.first, 1) if worker is None else (self.first + worker.id, worker.num_workers)
        while True:
            yield self.batch(step)
            step += stride

    def batch(self, step: int) -> Batch:
        """Batch number `step`."""
        rng = np.random.default_rng([self.seed, step])
        recipe = self.recipe
        size = recipe.sizes[step % len(recipe.sizes)]
        weights = np.array(recipe.weights) / sum(recipe.weights)
        items: list[tuple[View, list[Prompt]]] = []
        while len(items) < recipe.pictures:
            source = self.sources[rng.choice(len(self.sources), p=weights)]
            sample = source[int(rng.integers(len(source)))]
            if self.cuts and rng.random() < recipe.paste_share:
                sample = paste(sample, self._some_cuts(rng), rng)
            seen = view(sample, size, rng)
            prompts = choose_prompts(seen.sample, recipe.prompts, self.others, rng)
            if recipe.shown_share:
                prompts = show(prompts, seen.sample, recipe.shown_share, recipe.room, rng)
            if prompts:
                items.append((seen, prompts))
        if recipe.shown_share:
            samples = [seen.sample for seen, _ in items]
            asked = show_elsewhere([prompts for _, prompts in items], samples, recipe.shown_share, rng)
            items = [(seen, prompts) for (seen, _), prompts in zip(items, asked, strict=True)]
        return collate(items, self.tokenizer, recipe.room if recipe.shown_share else 0, rng)

    def _some_cuts(self, rng: np.random.Generator) -> list[CutOut]:
        """One to three cut-outs, of every noun as many: half of them all are plates."""
        kinds = rng.integers(len(self.cuts), size=rng.integers(1, 4))
        return [self.cuts[kind][rng.integers(len(self.cuts[kind]))] for kind in kinds]


def collate(
    items: list[tuple[View, list[Prompt]]],
    tokenizer: Tokenizer,
    room: int = 0,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Views with their prompts -> one batch.

    Args:
        room: E, exemplars of one concept.
        rng: chooses the phrases that instances are compared with, and the words; None = always the same.
    """
    texts = [prompt.text for _, prompts in items for prompt in prompts]
    tokens = tokenise(tokenizer, texts)  # [C, L], C >= 1
    boxes, masks, frame = [], [], []
    for index, (seen, prompts) in enumerate(items):
        for prompt in prompts:
            hits = list(prompt.hits)
            boxes.append(torch.from_numpy(seen.boxes[hits]))
            masks.append(torch.from_numpy(seen.masks[hits]))
            frame.append(index)
    nouns = [noun_cells(seen) for seen, _ in items]
    labels = [(label, seen.sample.checked_only) for seen, _ in items for label in seen.sample.labels]
    phrases = batch_phrases([seen.sample for seen, _ in items], rng or np.random.default_rng(0))
    asked = [(own, prompt) for own, (_, prompts) in enumerate(items) for prompt in prompts]
    shown_in = [own if prompt.shown_in is None else prompt.shown_in for own, prompt in asked]
    shown = [example_boxes(items[i][0], prompt, room) for i, (_, prompt) in zip(shown_in, asked, strict=True)]
    return Batch(
        torch.from_numpy(np.stack([seen.image for seen, _ in items])),
        torch.tensor(frame),
        tokens,
        boxes,
        masks,
        torch.from_numpy(np.stack([seen.ignored for seen, _ in items])),
        torch.from_numpy(np.stack([target for target, _ in nouns])),
        torch.from_numpy(np.stack([known for _, known in nouns])),
        torch.from_numpy(np.concatenate([instance_cells(seen) for seen, _ in items])),
        torch.tensor([i for i, (seen, _) in enumerate(items) for _ in seen.sample.labels]).long(),
        tokenise(tokenizer, [reworded(noun, REWORDED_SHARE, rng) if rng else noun for noun in NOUNS]),
        truth_table(labels, NOUNS),
        tokenise(tokenizer, phrases) if phrases else tokens[:0],
        truth_table(labels, phrases),
        texts,
        torch.tensor([prompt.named for _, prompts in items for prompt in prompts]),
        torch.from_numpy(np.stack([boxes for boxes, _ in shown])),
        torch.tensor(shown_in),
        torch.from_numpy(np.stack([labels for _, labels in shown])),
    )


def truth_table(labels: Sequence[tuple[Label, bool]], phrases: Sequence[str]) -> Tensor:
    """What is known of I instances (label, whether only checked words are known) and P phrases: [I, P], see
    `naming.label_truth`."""
    rows = [label_truth(label, phrases, checked_only) for label, checked_only in labels]
    return torch.tensor(rows).float().reshape(len(labels), len(phrases))


def tokenise(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids int64 [C, L] of C >= 1 texts."""
    return torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(list(texts))])


def example_boxes(seen: View, prompt: Prompt, room: int) -> tuple[np.ndarray, np.ndarray]:
    """The exemplars of a prompt, instances of this picture: boxes [room, 4] cxcywh, a little off as people draw them,
    and labels [room]."""
    boxes, labels = np.zeros((room, 4), np.float32), np.full(room, -1, np.int64)
    for row, example in enumerate(prompt.examples):
        box = seen.boxes[example.instance]
        boxes[row] = box + np.array(example.drift) * box[[2, 3, 2, 3]]
        labels[row] = int(example.positive)
    return boxes, labels


def noun_cells(seen: View) -> tuple[np.ndarray, np.ndarray]:
    """For every noun: how much of it lies in each token's cell [nouns, G, G], 1 = as much as in any cell of that
    instance, and whether that is known [nouns]."""
    coarse = relative_cover(token_cover(seen))  # [n, G, G]
    target = np.zeros((len(NOUNS), *coarse.shape[1:]), np.float32)
    known = np.zeros(len(NOUNS), np.float32)
    for index, noun in enumerate(NOUNS):
        hits = truth(seen.sample, noun)
        if hits is None:
            continue
        known[index] = 1
        if hits:
            target[index] = coarse[hits].sum(0).clip(0, 1)
    return target, known
