# SPDX-License-Identifier: Apache-2.0
"""Makes nouns.txt: everyday names of physical things, from WordNet 3.0 and a list of common English words.

    python -m esam3_core.distill.text.nouns --wordnet /usr/share/wordnet \
        --words /usr/share/dict/american-english-small

The two inputs are the Debian packages `wordnet-base` and `wamerican-small`. nouns.txt is committed, so
training needs neither.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

LEXNAMES = {5: "animal", 6: "artifact", 8: "body", 13: "food", 17: "object", 20: "plant"}
"""WordNet lexicographer files that name physical things."""

ANCHORS: dict[str, tuple[tuple[str, int], ...]] = {
    "cup": (("cup", 1),),
    "mug": (("mug", 4),),
    "bowl": (("bowl", 1), ("bowl", 3)),
    "bottle": (("bottle", 1),),
    "can": (("can", 1),),
    "plate": (("plate", 4),),
    "vase": (("vase", 1),),
    "glass": (("glass", 2),),
    "wine glass": (("wineglass", 1),),
    "box": (("box", 1),),
    "book": (("book", 2),),
    "ball": (("ball", 1), ("ball", 6)),
    "apple": (("apple", 1),),
    "banana": (("banana", 2),),
    "orange": (("orange", 1),),
    "fork": (("fork", 1),),
    "knife": (("knife", 1),),
    "spoon": (("spoon", 1),),
}
"""Claimed noun -> the WordNet senses (lemma, number) whose hyponyms it covers."""

DOUBTFUL = frozenset(
    ("album", "bumper", "caddy", "calendar", "case knife", "cash register", "casket", "coffin", "flat",
     "gourd", "grace cup", "lance", "magnum", "marble", "object ball", "punch bag", "punching bag", "safe",
     "schooner", "six pack", "specimen bottle", "steel plate", "sugar shell", "tea maker", "till",
     "toilet bowl", "tool cabinet", "volume", "window box")
)  # fmt: skip
"""Names that WordNet files under a claimed noun but a camera would not show as one: they carry no claim."""

HEADER = """\
# Everyday names of physical things by [category]; "name=a,b": the claimed nouns it is a kind of.
# Extracted by nouns.py from WordNet 3.0, Copyright 2006 by Princeton University (WordNet licence: free use, copying and
# distribution with this notice), keeping words of SCOWL size 35 (Copyright 2000-2018 by Kevin Atkinson, same terms).
"""


@dataclass(frozen=True)
class Synset:
    """One WordNet sense: its lexicographer file, its words and its hypernyms' offsets."""

    lexfile: int
    words: tuple[str, ...]
    hypernyms: tuple[str, ...]


def read_synsets(path: Path) -> dict[str, Synset]:
    """Parse data.noun into offset -> Synset (format: wndb(5WN))."""
    synsets = {}
    for line in path.read_text().splitlines():
        if line.startswith(" "):  # licence
            continue
        fields = line.partition(" | ")[0].split()
        count = int(fields[3], 16)
        words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(count))
        pointers = fields[5 + 2 * count :]
        hypernyms = tuple(
            offset
            for symbol, offset in zip(pointers[0::4], pointers[1::4], strict=False)
            if symbol == "@"
        )
        synsets[fields[0]] = Synset(int(fields[1]), words, hypernyms)
    return synsets


def read_senses(path: Path) -> dict[str, list[str]]:
    """Parse index.noun into lemma -> offsets of its senses, commonest first."""
    senses = {}
    for line in path.read_text().splitlines():
        if not line.startswith(" "):
            fields = line.split()
            senses[fields[0].replace("_", " ")] = fields[-int(fields[2]) :]
    return senses


def ancestors(offset: str, synsets: dict[str, Synset]) -> set[str]:
    """The sense itself and everything it is a kind of."""
    found: set[str] = set()
    todo = [offset]
    while todo:
        current = todo.pop()
        if current not in found:
            found.add(current)
            todo.extend(synsets[current].hypernyms)
    return found


def is_everyday(lemma: str, common: set[str], compound: bool) -> bool:
    """Whether every word of the lemma is a common lower-case English word."""
    words = lemma.split(" ")
    if not lemma.replace(" ", "").isalpha() or len(words) > 2 or any(len(w) < 3 for w in words):
        return False
    return (compound or len(words) == 1) and all(w in common for w in words)


def collect(wordnet: Path, common: set[str]) -> list[tuple[str, str, str]]:
    """(name, category, claimed nouns joined by commas) of every everyday physical noun, sorted."""
    synsets = read_synsets(wordnet / "data.noun")
    senses = read_senses(wordnet / "index.noun")
    roots = {
        senses["wineglass" if lemma == "wine glass" else lemma][number - 1]: noun
        for noun, anchors in ANCHORS.items()
        for lemma, number in anchors
    }
    rows = []
    for lemma, offsets in senses.items():
        covered = {
            roots[a]
            for offset in offsets[:3]
            for a in ancestors(offset, synsets) & set(roots)
        }
        if lemma in DOUBTFUL:
            covered = set()
        main = synsets[offsets[0]]
        compound = bool(covered) or main.lexfile in (6, 13)
        physical = main.lexfile in LEXNAMES or covered
        proper = not any(word == lemma for word in main.words)
        if physical and not proper and is_everyday(lemma, common, compound):
            category = LEXNAMES.get(main.lexfile, "artifact")
            rows.append((lemma, category, ",".join(sorted(covered))))
    return sorted(rows)


def render(rows: list[tuple[str, str, str]]) -> str:
    """The rows as text, one section for each category."""
    lines = []
    for category in sorted({row[1] for row in rows}):
        lines.append(f"[{category}]")
        lines += [f"{name}={claims}" if claims else name for name, kind, claims in rows if kind == category]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with data.noun and index.noun")
    parser.add_argument("--words", type=Path, required=True, help="common words, one a line")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("nouns.txt"))
    args = parser.parse_args()
    rows = collect(args.wordnet, set(args.words.read_text().split()))
    args.out.write_text(HEADER + render(rows))
    print(f"{len(rows)} nouns -> {args.out}")


if __name__ == "__main__":
    main()
