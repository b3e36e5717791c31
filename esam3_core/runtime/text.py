# SPDX-License-Identifier: Apache-2.0
"""Concepts: checked, cut into tokens, encoded once and remembered."""

from __future__ import annotations

import logging
import unicodedata
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from esam3_core.config import MAX_CONCEPT_LENGTH
from esam3_core.runtime.clean import clean
from esam3_core.runtime.engines import Engine
from esam3_core.runtime.errors import BundleError, ConceptError

PAD = 0  # token id
CLEANINGS = 8  # more than the entities that anybody packs into each other
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prompt:
    """Encoded concepts, as the detector reads them."""

    concepts: tuple[str, ...]  # C
    tokens: NDArray[np.float32]  # [C, L, d]
    pad: NDArray[np.bool_]  # [C, L], True where there is no token

    def only(self, concepts: Collection[str]) -> Prompt:
        """Some of the concepts, in the order they have here."""
        rows = [row for row, concept in enumerate(self.concepts) if concept in concepts]
        return Prompt(tuple(self.concepts[row] for row in rows), self.tokens[rows], self.pad[rows])


def normalise(concept: Any) -> str:
    """A concept in lower case with single spaces, by CLIP's rules.

    Raises:
        ConceptError: it is not a str, is empty, has control characters or is longer than MAX_CONCEPT_LENGTH.
    """
    if not isinstance(concept, str):
        raise ConceptError(
            f"a concept must be a noun phrase such as 'red mug', not {type(concept).__name__} {concept!r}"
        )
    raw = " ".join(concept.split())
    words = _stable(raw)
    if not words:
        raise ConceptError("a concept is empty: give a noun phrase such as 'red mug'")
    if len(words) > MAX_CONCEPT_LENGTH:
        raise ConceptError(
            f"the concept {words[:24] + '...'!r} has {len(words)} characters: use at most {MAX_CONCEPT_LENGTH}"
        )
    if any(unicodedata.category(character) in ("Cc", "Cs", "Co") for character in raw + words):
        raise ConceptError(f"the concept {words!r} has control characters: give plain text")
    return words


def _stable(text: str) -> str:
    """Text cleaned until nothing changes: what is normal once is normal for ever."""
    for _ in range(CLEANINGS):
        cleaned = clean(text)
        if cleaned == text:
            break
        text = cleaned
    return text


def normalise_all(concepts: Iterable[Any]) -> tuple[str, ...]:
    """Normalised concepts in their order, each once.

    Raises:
        ConceptError: `concepts` is a single str, not iterable, or one of them is not a concept.
    """
    if isinstance(concepts, str):
        raise ConceptError(f"concepts must be a list: write [{concepts!r}]")
    if not isinstance(concepts, Iterable):
        raise ConceptError(f"concepts must be a list of noun phrases, not {type(concepts).__name__}")
    return tuple(dict.fromkeys(normalise(concept) for concept in concepts))


class TextEncoder:
    """Turns concepts into prompts; the latest `cache` concepts are encoded only once."""

    def __init__(self, engine: Engine, tokenizer: Path, context: int, cache: int) -> None:
        """`context` is L, the tokens of one concept; start and end count.

        Raises:
            BundleError: the tokenizer cannot be read.
        """
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(tokenizer))
        except Exception as error:  # tokenizers raises bare Exception
            raise BundleError(f"{tokenizer} is not a tokenizer ({error}): copy the bundle again") from error
        self._tokenizer.enable_truncation(context)
        self._tokenizer.enable_padding(length=context, pad_id=PAD)
        self._engine = engine
        self._room = cache
        self._known: OrderedDict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]] = OrderedDict()

    def encode(self, concepts: Sequence[str]) -> Prompt:
        """The prompt of normalised `concepts`, C >= 1."""
        missing = [concept for concept in concepts if concept not in self._known]
        if missing:
            self._learn(missing)
        for concept in concepts:
            self._known.move_to_end(concept)
        encoded = [self._known[concept] for concept in concepts]
        while len(self._known) > self._room:
            self._known.popitem(last=False)
        tokens, pads = zip(*encoded, strict=True)
        return Prompt(tuple(concepts), np.stack(tokens), np.stack(pads))

    def _learn(self, concepts: list[str]) -> None:
        encodings = self._tokenizer.encode_batch(concepts)
        for concept, encoding in zip(concepts, encodings, strict=True):
            if encoding.overflowing:
                logger.warning("the concept %r is cut after %d tokens: use fewer words", concept, len(encoding.ids))
        ids = np.array([encoding.ids for encoding in encodings], np.int64)  # [C, L]
        prompts = self._engine.run({"tokens": ids})["prompt"]  # [C, L, d]
        for concept, prompt, row in zip(concepts, prompts, ids, strict=True):
            self._known[concept] = prompt.copy(), row == PAD
