# SPDX-License-Identifier: Apache-2.0
"""LVIS: COCO's pictures with 1203 classes, federated: in each picture only some classes were looked for.

A picture lists classes checked and absent (`neg_category_ids`) and classes of which not every instance is annotated
(`not_exhaustive_category_ids`); of all that it does not mention nothing is known.
Source: https://www.lvisdataset.org, "LVIS: A Dataset for Large Vocabulary Instance Segmentation" (Gupta et al., 2019).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from esam3_core.data.coco import CocoPictures
from esam3_core.data.real import NAMES
from esam3_core.data.sample import Label
from esam3_core.data.skips import Skips


class LvisPictures(CocoPictures):
    """The pictures of an LVIS file.

    Args:
        annotations: `lvis_v1_val.json` or alike.
        folder: of COCO's pictures, with `train2017` and `val2017` in it, or one of those itself.
    """

    def __init__(self, annotations: Path, folder: Path, skips: Skips | None = None) -> None:
        super().__init__(annotations, folder, skips)
        names = {number: _phrases(item) for number, item in self.categories.items()}
        uses = Counter(phrase for phrases in names.values() for phrase in phrases)
        self.unique = {number: frozenset(p for p in phrases if uses[p] == 1) for number, phrases in names.items()}
        self.shared = {number: frozenset(phrases) - self.unique[number] for number, phrases in names.items()}

    def path(self, record: dict[str, Any]) -> Path:
        """Where a picture lies: the end of its address, with or without the folder of its part."""
        part, name = str(record["coco_url"]).split("/")[-2:]
        whole = self.folder / part / name
        return whole if whole.is_file() else self.folder / name

    def label(self, record: dict[str, Any], category: int) -> Label:
        """An instance of a class that was annotated in part only maybe bears its name: there may be more of them."""
        sure, maybe = self.unique[category], self.shared[category]
        for phrase in self.unique[category]:
            more, perhaps = NAMES.get(phrase, ((), ()))
            sure, maybe = sure | set(more), maybe | set(perhaps)
        if category in record.get("not_exhaustive_category_ids", ()):
            return Label(frozenset(), sure | maybe)
        return Label(sure, maybe - sure)

    def known_in(self, record: dict[str, Any]) -> frozenset[str]:
        """Names of the classes that were looked for, less those that instances of other classes may bear."""
        looked = self._looked_for(record)
        known = {phrase for number in looked for phrase in self.unique[number]}
        for number in self.categories.keys() - looked:
            for phrase in self.unique[number]:
                known -= {noun for names in NAMES.get(phrase, ()) for noun in names}
        return frozenset(known)

    def absent(self, record: dict[str, Any]) -> tuple[str, ...]:
        """Names of the classes that were looked for in vain."""
        negative = record.get("neg_category_ids", ())
        known = self.known_in(record)
        return tuple(sorted({phrase for number in negative for phrase in self.unique[number]} & known))

    def _looked_for(self, record: dict[str, Any]) -> set[int]:
        partial = set(record.get("not_exhaustive_category_ids", ()))
        there = {item["category_id"] for item in self.by_image.get(record["id"], ())}
        return (there - partial) | set(record.get("neg_category_ids", ()))


def _phrases(category: dict[str, Any]) -> set[str]:
    """Names of a class as people say them: "bow_(weapon)" -> "bow"; its synonyms too."""
    names = [category["name"], *category.get("synonyms", ())]
    return {re.sub(r"\(.*?\)", "", name).replace("_", " ").strip().lower() for name in names}
