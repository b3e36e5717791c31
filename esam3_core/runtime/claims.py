# SPDX-License-Identifier: Apache-2.0
"""What a bundle claims to know, against what it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def beyond_claims(nouns: Sequence[str], concepts: Iterable[str]) -> str:
    """A clause that names the normalised `concepts` that a bundle does not claim to know; "" if there are none.

    They may work all the same, nobody measured them. A bundle without `nouns`, such as an official one, claims nothing
    and is not asked.
    """
    unknown = [concept for concept in concepts if nouns and not claims(nouns, concept)]
    return f"this bundle does not claim to know {', '.join(unknown)}, only {', '.join(nouns)}" if unknown else ""


def claims(nouns: Sequence[str], concept: str) -> bool:
    """Whether a concept ends in a noun that the bundle claims to know, as "red mug" does in "mug"."""
    return any(concept == noun or concept.endswith(f" {noun}") for noun in nouns)
