# SPDX-License-Identifier: Apache-2.0
"""What the tabletop world can name: kinds, nouns, synonyms, colours, patterns, materials. Plain data, no imports.

A *kind* is what is modelled; its nouns are the phrases that are true of it (the first is its own name).
"""

from __future__ import annotations

KINDS: dict[str, tuple[str, ...]] = {
    "cup": ("cup",),
    "mug": ("mug", "cup"),
    "bowl": ("bowl",),
    "bottle": ("bottle",),
    "can": ("can",),
    "plate": ("plate",),
    "vase": ("vase",),
    "glass": ("glass",),
    "wine glass": ("wine glass", "glass"),
    "box": ("box",),
    "book": ("book",),
    "ball": ("ball",),
    "apple": ("apple",),
    "banana": ("banana",),
    "orange": ("orange",),
    "fork": ("fork",),
    "knife": ("knife",),
    "spoon": ("spoon",),
}
"""Kind -> nouns true of it. Every mug is a cup, every wine glass is a glass."""

NOUNS: tuple[str, ...] = tuple(KINDS)
"""The nouns a bundle trained on scenes may claim."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "cup": ("tumbler", "beaker", "paper cup", "teacup", "coffee cup", "drinking cup", "plastic cup"),
    "mug": ("coffee mug", "tea mug", "mug with a handle", "beer mug"),
    "bowl": ("dish bowl", "salad bowl", "soup bowl", "cereal bowl", "mixing bowl"),
    "bottle": ("flask", "water bottle", "wine bottle", "drink bottle", "soda bottle"),
    "can": ("tin", "tin can", "soda can", "drink can", "beer can"),
    "plate": ("dish", "dinner plate", "saucer", "side plate"),
    "vase": ("flower vase", "urn", "ceramic vase"),
    "glass": ("drinking glass", "water glass", "glass tumbler"),
    "wine glass": ("goblet", "wineglass", "stemmed glass", "champagne glass"),
    "box": ("carton", "package", "cardboard box", "crate", "packet"),
    "book": ("novel", "paperback", "textbook", "notebook", "hardcover"),
    "ball": ("sphere", "toy ball", "rubber ball"),
    "apple": ("red apple fruit", "apple fruit"),
    "banana": ("banana fruit", "plantain"),
    "orange": ("orange fruit", "tangerine", "mandarin"),
    "fork": ("dinner fork", "table fork"),
    "knife": ("table knife", "dinner knife", "kitchen knife"),
    "spoon": ("tablespoon", "teaspoon", "soup spoon"),
}
"""Noun -> other words for the same thing, for training the text encoder."""

AMBIGUOUS: frozenset[frozenset[str]] = frozenset(
    frozenset(pair)
    for pair in (
        ("cup", "glass"),
        ("vase", "bottle"),
        ("vase", "cup"),
        ("bowl", "cup"),
        ("bowl", "plate"),
        ("ball", "orange"),
        ("box", "book"),
    )
)
"""Pairs of nouns that a person may use for one object: neither is offered as a hard negative of the other."""

LOOK_ALIKES: dict[str, tuple[str, ...]] = {
    "cup": ("mug", "can"),
    "mug": ("can",),
    "bowl": ("vase",),
    "bottle": ("can", "glass"),
    "can": ("cup", "bottle", "mug"),
    "plate": ("book",),
    "vase": ("glass", "can"),
    "glass": ("wine glass", "bottle", "vase"),
    "wine glass": ("vase", "bottle"),
    "box": ("can",),
    "book": ("plate",),
    "ball": ("apple", "bowl"),
    "apple": ("ball", "orange"),
    "banana": ("orange",),
    "orange": ("apple",),
    "fork": ("spoon", "knife"),
    "knife": ("fork", "spoon"),
    "spoon": ("fork", "knife"),
}
"""Noun -> nouns that a student takes such a thing for, and a person does not (docs/bundles/tabletop.md)."""

COLOURS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-6, 5), (0.78, 0.95), (0.55, 0.85)),
    "orange": ((20, 29), (0.82, 0.97), (0.86, 0.98)),
    "yellow": ((48, 56), (0.72, 0.95), (0.85, 0.97)),
    "green": ((95, 150), (0.5, 0.9), (0.35, 0.7)),
    "blue": ((207, 234), (0.6, 0.92), (0.45, 0.85)),
    "purple": ((268, 288), (0.45, 0.75), (0.4, 0.65)),
    "pink": ((328, 348), (0.28, 0.5), (0.88, 0.98)),
    "brown": ((18, 28), (0.55, 0.75), (0.25, 0.42)),
    "white": ((20, 60), (0.0, 0.06), (0.9, 0.97)),
    "grey": ((200, 240), (0.0, 0.07), (0.4, 0.56)),
    "black": ((0, 360), (0.0, 0.2), (0.04, 0.1)),
}
"""Colour name -> ranges of hue (degrees), saturation and value inside which nobody would name it otherwise."""

COLOUR_SYNONYMS: dict[str, tuple[str, ...]] = {
    "red": ("crimson", "scarlet"),
    "blue": ("navy",),
    "purple": ("violet",),
    "grey": ("gray",),
    "yellow": ("golden yellow",),
}
"""Colour -> other words for it."""

PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted", "checked", "flowery", "zigzag")
"""Surface patterns; the phrase of a plain object names no pattern."""

PATTERN_SYNONYMS: dict[str, tuple[str, ...]] = {
    "striped": ("stripy",),
    "dotted": ("spotted", "polka dot"),
    "checked": ("checkered", "chequered"),
    "flowery": ("floral",),
}
"""Pattern -> other words for it."""

MATERIALS: tuple[str, ...] = ("ceramic", "glass", "metal", "plastic", "wooden", "paper", "cardboard")
"""What an object is made of; named in a phrase only where a look decides it (metal, wooden, glass, paper)."""

NAMED_MATERIALS: frozenset[str] = frozenset({"metal", "wooden", "glass", "paper", "cardboard"})
"""Materials that a picture shows without doubt."""

HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "cup"),
        ("purple", "cup"),
        ("green", "mug"),
        ("pink", "mug"),
        ("blue", "bowl"),
        ("brown", "bowl"),
        ("orange", "bottle"),
        ("yellow", "bottle"),
        ("purple", "can"),
        ("white", "can"),
        ("yellow", "plate"),
        ("black", "plate"),
        ("red", "vase"),
        ("grey", "vase"),
        ("blue", "box"),
        ("pink", "box"),
        ("orange", "book"),
        ("purple", "book"),
        ("green", "ball"),
        ("white", "ball"),
        ("yellow", "apple"),
        ("red", "spoon"),
        ("blue", "fork"),
        ("green", "knife"),
    }
)
"""(colour, kind) pairs that the train split never shows; the held-out split shows them often."""


def nouns_of(kind: str) -> tuple[str, ...]:
    """Nouns true of an object of this kind, its own name first.

    Raises:
        KeyError: for a kind that is not in `KINDS`.
    """
    return KINDS[kind]


def closest_noun(nouns: frozenset[str] | list[str]) -> str:
    """Of nouns that are true of one thing, at least one of the vocabulary, the one that says most: "mug", not "cup"."""
    return max((noun for noun in NOUNS if noun in nouns), key=lambda noun: len(KINDS[noun]))


def is_ambiguous(one: str, other: str) -> bool:
    """Whether a person could use either noun for the same object."""
    return one == other or frozenset((one, other)) in AMBIGUOUS
