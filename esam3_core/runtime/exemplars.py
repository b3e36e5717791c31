# SPDX-License-Identifier: Apache-2.0
"""Exemplars: boxes that show a concept, so that everything alike is found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.runtime.engines import Engine
from esam3_core.runtime.errors import ConceptError, PromptError
from esam3_core.runtime.object_prompt import clip_box
from esam3_core.runtime.text import Prompt, normalise
from esam3_core.runtime.track import Box

UNNAMED = "exemplar"  # the concept that is shown without a name
WORDLESS = "visual"  # what official checkpoints read then (SAM 3); our own students read nothing
Tokens = NDArray[np.float32]


@dataclass(frozen=True)
class Exemplar:
    """One box of a frame that shows a concept, or (`positive` False) something that is not it.

    Without a `concept` it belongs to the only one that is searched for, or is a concept of its own.
    """

    box: Box  # x, y, width, height in pixels of the frame
    positive: bool = True
    concept: str = ""


@dataclass(frozen=True, eq=False)
class Shown:
    """What exemplars tell the detector of one concept."""

    tokens: Tokens  # [n, d]
    named: bool  # whether the concept's name counts too


class ExemplarEncoder:
    """Turns the exemplars of a frame into prompt tokens."""

    def __init__(self, engine: Engine, room: int) -> None:
        """`room` is E, the boxes that show one concept."""
        self.room = room
        self._engine = engine

    def encode(self, p16: Any, exemplars: Sequence[Exemplar], size: tuple[int, int]) -> Tokens:
        """Tokens [n, d], n <= E + 1, of exemplars of one concept on a frame of `size` (H, W).

        Args:
            p16: the image encoder's output of that name, as array or handle.

        Raises:
            PromptError: there are more than E, or a box cannot be on the frame.
        """
        if len(exemplars) > self.room:
            raise PromptError(f"{len(exemplars)} exemplars of one concept, this bundle takes {self.room}: give fewer")
        boxes = np.zeros((1, self.room, 4), np.float32)
        labels = np.full((1, self.room), -1, np.int64)
        for row, exemplar in enumerate(exemplars):
            x, y, width, height = clip_box(exemplar.box, size)
            boxes[0, row] = (x + width / 2) / size[1], (y + height / 2) / size[0], width / size[1], height / size[0]
            labels[0, row] = int(exemplar.positive)
        out = self._engine.run({"p16": p16, "boxes": boxes, "labels": labels})
        return np.array(out["prompt"][0][~out["pad"][0]], np.float32)


def group(exemplars: Iterable[Exemplar], concepts: Sequence[str]) -> dict[str, list[Exemplar]]:
    """Exemplars by the normalised concept that they show.

    Raises:
        ConceptError: an exemplar names no concept while several are searched for.
        PromptError: something else than an Exemplar is among them.
    """
    groups: dict[str, list[Exemplar]] = {}
    for exemplar in exemplars:
        if not isinstance(exemplar, Exemplar):
            raise PromptError(f"an exemplar must be an Exemplar(box=(x, y, width, height)), not {exemplar!r}")
        groups.setdefault(_concept_of(exemplar, concepts), []).append(exemplar)
    return groups


def join(prompt: Prompt, shown: Mapping[str, Shown], length: int) -> Prompt:
    """A prompt [C, L, d] with the tokens of exemplars behind it, padded to `length` tokens."""
    count, text, width = prompt.tokens.shape
    tokens = np.zeros((count, length, width), np.float32)
    pad = np.ones((count, length), np.bool_)
    tokens[:, :text], pad[:, :text] = prompt.tokens, prompt.pad
    for row, concept in enumerate(prompt.concepts):
        if concept in shown:
            own = shown[concept]
            if not own.named:
                tokens[row, :text], pad[row, :text] = 0, True
            end = text + len(own.tokens)
            tokens[row, text:end], pad[row, text:end] = own.tokens, False
    return Prompt(prompt.concepts, tokens, pad)


def _concept_of(exemplar: Exemplar, concepts: Sequence[str]) -> str:
    if exemplar.concept:
        return normalise(exemplar.concept)
    if len(concepts) > 1:
        raise ConceptError(
            f"which of {', '.join(concepts)} does the exemplar show? Name it: Exemplar(box, concept={concepts[0]!r})"
        )
    return concepts[0] if concepts else UNNAMED
