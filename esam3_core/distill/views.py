# SPDX-License-Identifier: Apache-2.0
"""The views that stage 1 learns from: numbered, the same whenever they are made, so that a teacher's answers to them
can be kept."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from esam3_core.config_fit import SourceConfig
from esam3_core.data.augment import View, view
from esam3_core.distill.batches import Source


@dataclass(frozen=True)
class Place:
    """Which view of which picture."""

    source: int
    index: int
    view: int

    @property
    def key(self) -> str:
        """Its name in a cache."""
        return f"{self.source}/{self.index}/{self.view}"


class Views:
    """Every view of every picture of some sources.

    Args:
        sources: data sets, and their configurations.
        size: S.
        count: views of each picture; the first is the whole, undisturbed picture.
        seed: of the others' crops and disturbances.
    """

    def __init__(
        self, sources: list[Source], configs: tuple[SourceConfig, ...], size: int, count: int, seed: int
    ) -> None:
        self.sources, self.configs = sources, configs
        self.size, self.count, self.seed = size, count, seed

    def __len__(self) -> int:
        return self.count * sum(len(source) for source in self.sources)

    def place(self, number: int) -> Place:
        """View `number` of all, 0..len - 1: source after source, picture after picture."""
        picture, turn = divmod(number, self.count)
        for index, source in enumerate(self.sources):
            if picture < len(source):
                return Place(index, picture, turn)
            picture -= len(source)
        raise IndexError(f"there is no view {number}: there are {len(self)}")

    def places(self) -> list[Place]:
        """All of them, in order."""
        return [self.place(number) for number in range(len(self))]

    def draw(self, rng: np.random.Generator) -> Place:
        """One of them, by the sources' weights."""
        weights = np.array([config.weight for config in self.configs])
        number = int(rng.choice(len(self.sources), p=weights / weights.sum()))
        return Place(number, int(rng.integers(len(self.sources[number]))), int(rng.integers(self.count)))

    def __getitem__(self, place: Place) -> View:
        rng = np.random.default_rng([self.seed, place.source, place.index, place.view]) if place.view else None
        return view(self.sources[place.source][place.index], self.size, rng)

    def describe(self) -> dict[str, object]:
        """What decides the pixels of every view, for the key of a cache."""
        pairs = zip(self.configs, self.sources, strict=True)
        sources = [f"{Path(c.path).name}:{c.kind}:{len(s)}:{_sample(s)}" for c, s in pairs]
        return {"size": self.size, "views": self.count, "seed": self.seed, "sources": sources, "resize": "squash"}


def _sample(source: Source) -> int:
    """Checksum of the first and last picture: other pictures under the same name are noticed."""
    ends = {0, len(source) - 1} if len(source) else set()
    return zlib.crc32(b"".join(source[index].image.tobytes() for index in sorted(ends)))
