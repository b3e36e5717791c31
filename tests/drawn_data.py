# SPDX-License-Identifier: Apache-2.0
"""Tiny data sets in the real formats: discs ("ball") and rectangles ("box") in plain colours on grey."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

from tests.colour_bundle import BACKGROUND, COLOURS

SIZE = (120, 160)  # H, W in pixels


@dataclass(frozen=True)
class Thing:
    """Something drawn: what it is, and where."""

    noun: str  # ball, box
    colour: str
    x: int  # of the centre, pixels
    y: int
    radius: int

    def mask(self, size: tuple[int, int] = SIZE) -> np.ndarray:
        """uint8 [H, W]."""
        mask = np.zeros(size, np.uint8)
        if self.noun == "ball":
            cv2.circle(mask, (self.x, self.y), self.radius, 1, -1)
        else:
            r = self.radius
            cv2.rectangle(mask, (self.x - r, self.y - r), (self.x + r, self.y + r), 1, -1)
        return mask

    @property
    def phrases(self) -> list[str]:
        return [self.noun, f"{self.colour} {self.noun}"]


def scatter(seed: int, count: int = 3) -> list[Thing]:
    """Things that do not touch, one per column of the picture."""
    rng = np.random.default_rng(seed)
    colours = rng.permutation(sorted(COLOURS))
    width = SIZE[1] // count
    return [
        Thing(
            str(rng.choice(["ball", "box"])),
            str(colours[i]),
            int(width * (i + 0.5)),
            int(rng.integers(30, SIZE[0] - 30)),
            int(rng.integers(12, 20)),
        )
        for i in range(count)
    ]


def draw_things(things: Sequence[Thing], size: tuple[int, int] = SIZE) -> np.ndarray:
    """uint8 RGB [H, W, 3]."""
    image = np.full((*size, 3), BACKGROUND, np.uint8)
    for thing in things:
        image[thing.mask(size) > 0] = COLOURS[thing.colour]
    return image


def write_real_folder(folder: Path, pictures: Sequence[Sequence[Thing]], phrase: str = "noun") -> Path:
    """Write pictures with their labels; `phrase` says what is annotated: "noun" or "colour"."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for index, things in enumerate(pictures):
        write_picture(folder, f"{index:04d}", draw_things(things), [(getattr(t, phrase), t.mask()) for t in things])
    return folder


def write_picture(
    folder: Path, name: str, image: np.ndarray, instances: Sequence[tuple[str, np.ndarray]], crowd: bool = False
) -> None:
    """Write one picture and its labels; `crowd` marks its instances as crowds."""
    cv2.imwrite(str(folder / "images" / f"{name}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    items = []
    for phrase, mask in instances:
        counts = coco.encode(np.asfortranarray(mask))["counts"].decode()
        item: dict[str, Any] = {"phrase": phrase, "rle": counts, "bbox": list(cv2.boundingRect(mask)), "area": 1}
        items.append({**item, "crowd": True} if crowd else item)
    record = {"image": f"{name}.jpg", "size": list(image.shape[:2]), "instances": items}
    (folder / "labels" / f"{name}.json").write_text(json.dumps(record))


def write_shard(path: Path, pictures: Sequence[Sequence[Thing]], visible: float = 1.0) -> Path:
    """Write a scene shard; `visible` is the visible share of the first thing of each picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for index, things in enumerate(pictures):
            key = f"{path.stem}-{index:04d}"
            ids = np.zeros(SIZE, np.uint16)
            for number, thing in enumerate(things, start=1):
                ids[thing.mask() > 0] = number
            _add(tar, f"{key}.jpg", _encode(".jpg", draw_things(things)[..., ::-1]))
            _add(tar, f"{key}.ids.png", _encode(".png", ids))
            _add(tar, f"{key}.depth.png", _encode(".png", np.full(SIZE, 1000, np.uint16)))
            _add(tar, f"{key}.json", json.dumps(_record(key, things, visible)).encode())
    return path


def _record(key: str, things: Sequence[Thing], visible: float) -> dict[str, Any]:
    instances = [
        {
            "id": number,
            "kind": thing.noun,
            "phrases": thing.phrases,
            "box": list(cv2.boundingRect(thing.mask())),
            "visible": visible if number == 1 else 1.0,
            "area": int(thing.mask().sum()),
        }
        for number, thing in enumerate(things, start=1)
    ]
    said = {phrase for thing in things for phrase in thing.phrases}
    absent = [f"{c} {n}" for c in sorted(COLOURS) for n in ("ball", "box") if f"{c} {n}" not in said][:4]
    return {"key": key, "seed": 0, "scene": 0, "frame": 0, "split": "train", "size": list(SIZE),
            "instances": instances, "absent": absent}  # fmt: skip


def _encode(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
