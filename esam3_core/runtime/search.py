# SPDX-License-Identifier: Apache-2.0
"""What a tracker searches for: concepts by name, by exemplars, or by both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from esam3_core.runtime.errors import ConceptError, PromptError
from esam3_core.runtime.exemplars import Exemplar, Shown, group
from esam3_core.runtime.preprocess import Image
from esam3_core.runtime.text import Prompt, normalise_all

if TYPE_CHECKING:
    from esam3_core.runtime.student import Student


@dataclass(frozen=True, eq=False)
class Search:
    """An encoded set of concepts; never changed, only replaced."""

    prompt: Prompt | None = None  # None: there is nothing to search for
    shown: Mapping[str, Shown] = field(default_factory=dict)  # concept -> its exemplars

    @property
    def concepts(self) -> tuple[str, ...]:
        """The concepts, in the order they were given."""
        return self.prompt.concepts if self.prompt else ()

    def with_exemplars(self, student: Student, image: Image, exemplars: Iterable[Exemplar]) -> Search:
        """The same search with concepts shown on an image; see `Tracker.add_exemplars`."""
        named = [name for name in self.concepts if name not in self.shown or self.shown[name].named]
        groups = group(exemplars, named)
        if not groups:
            raise PromptError("no exemplar is given: give at least one Exemplar(box=(x, y, width, height))")
        shown = student.encode_exemplars(student.encode_image(image), groups, named, image.shape[:2])
        return search(student, (*self.concepts, *shown), {**self.shown, **shown})


def search(student: Student, concepts: Iterable[str], shown: Mapping[str, Shown]) -> Search:
    """Encode concepts; of `shown`, what belongs to them is used.

    Raises:
        ConceptError: a concept is not valid, or there are more than `max_concepts`.
    """
    names = normalise_all(concepts)
    limit = student.config.max_concepts
    if len(names) > limit:
        raise ConceptError(
            f"{len(names)} concepts, at most {limit} at once: give fewer, or raise max_concepts (of the node, or of "
            "RuntimeConfig)"
        )
    used = {name: shown[name] for name in names if name in shown}
    return Search(student.encode_concepts(names, used) if names else None, used)
