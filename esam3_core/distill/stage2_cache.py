# SPDX-License-Identifier: Apache-2.0
"""What the frozen encoder sees in every frame of every clip, kept on disk: a step then costs the memory alone.

One file per clip, written whole or not at all, in a folder whose name holds the hash of encoder, size, source and
teacher: another encoder fills another folder, and a repeated start goes on where the last one stopped. Processes that
start together share the work, where they share the folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from esam3_core.config_stage2 import ClipSourceConfig
from esam3_core.data.clip import Clip, ClipFrame, Clips
from esam3_core.data.skips import BAD_DATA, Skips
from esam3_core.distill.drafts import own_order, remove_stale
from esam3_core.distill.teacher import Teacher, fingerprint
from esam3_core.nn.student import ImageEncoder
from esam3_core.runtime.draft import draft
from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.preprocess import resize_frame

FORMAT = 2  # raised when files of older versions would be misread
BATCH = 8  # frames that are encoded at once
OBJECTS = 32  # of a clip, the largest ones
TORN = "delete it and start again: what is missing is made anew"


@dataclass  # not frozen: Fabric moves what is in a batch to the device
class Taught:
    """What a teacher says of n objects in F frames, from the frame on in which each shows first."""

    masks: Tensor  # uint8 [F, n, h, w], probability x 255
    objectness: Tensor  # float32 [F, n] logit
    pointers: Tensor  # float32 [F, n, d']
    known: Tensor  # bool [F, n]


@dataclass(frozen=True)
class CachedClip:
    """Some annotated frames of a clip."""

    p16: Tensor  # half [F, d, S/16, S/16]
    p8: Tensor  # half [F, d/4, S/8, S/8]
    p4: Tensor  # half [F, d/8, S/4, S/4]
    masks: NDArray[np.bool_]  # [F, n, S, S]
    thumbs: NDArray[np.uint8]  # [F, S/2, S/2, 3], to draw samples on
    taught: Taught | None


class ClipCache:
    """The cached clips of one source.

    Args:
        folder: of all caches; config: the source.
        encoder: frozen, in evaluation mode; size: S.
        teacher: whose answers are kept too, or None.
    """

    def __init__(
        self, folder: Path, config: ClipSourceConfig, encoder: ImageEncoder, size: int, teacher: Teacher | None
    ) -> None:
        self.encoder, self.size, self.teacher, self.frames = encoder, size, teacher, config.frames
        told = {"format": FORMAT, **asdict(config), "weight": 0, "teacher": teacher.key if teacher else ""}
        digest = hashlib.sha256((fingerprint(encoder, size) + json.dumps(told, sort_keys=True)).encode()).hexdigest()
        self.folder = folder / f"{Path(config.path).name}-{digest[:12]}"
        self.sizes: list[tuple[int, int]] = []  # frames and objects of each clip; none of one that is left out
        self.skips = Skips()

    def fill(self, clips: Clips, limit: int) -> None:
        """Encode what is missing of the first `limit` clips (0 = all). One that cannot be read is left out, and tried
        again at the next start; the others keep their numbers.

        Raises:
            ValueError: no clip shows any object.
            OSError: the disk is full.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale(self.folder)
        count = min(limit, len(clips)) if limit else len(clips)
        missing = [i for i in range(count) if not self.path(i).exists()]
        for index in tqdm(own_order(missing), unit="clip", desc=f"encode {self.folder.name}", disable=not missing):
            if self.path(index).exists():
                continue  # another process was here
            try:
                frames = frames_of(clips[index], self.frames)
            except BAD_DATA as error:
                self.skips.add(type(error).__name__, f"clip {index} of {self.folder.name}: {error}")
            else:
                self._write(self.path(index), frames)
        self.sizes = [self._size(self.path(i)) if self.path(i).exists() else (0, 0) for i in range(count)]
        if not any(objects for _, objects in self.sizes):
            raise ValueError(f"no clip of {self.folder.name} shows an object ({self.skips}): is it the right folder?")

    def path(self, index: int) -> Path:
        """File of a clip."""
        return self.folder / f"{index:05d}.safetensors"

    def visible(self, index: int) -> NDArray[np.int64]:
        """Pixels of S x S that each object of a clip covers: [F, n]."""
        if self.sizes[index] == (0, 0):
            return np.zeros((0, 0), np.int64)
        with safe_open(self.path(index), "np") as file:
            return np.asarray(file.get_tensor("areas"))

    def read(self, index: int, frames: list[int]) -> CachedClip:
        """Some frames of a clip, in that order."""
        side = self.size
        with safe_open(self.path(index), "pt") as file:
            p16, p8, p4 = (torch.stack([file.get_slice(n)[frame] for frame in frames]) for n in ("p16", "p8", "p4"))
            packed = np.stack([file.get_slice("masks")[frame].numpy() for frame in frames])  # [F, n, bytes]
            masks = np.unpackbits(packed, axis=-1, count=side * side).reshape(*packed.shape[:2], side, side)
            thumbs = np.stack([file.get_slice("thumbs")[frame].numpy() for frame in frames])
            taught = None
            if self.teacher is not None:
                parts = ("taught_masks", "taught_objectness", "taught_pointers", "taught_known")
                taught = Taught(*(torch.stack([file.get_slice(part)[f] for f in frames]) for part in parts))
        return CachedClip(p16, p8, p4, masks.astype(np.bool_), thumbs, taught)

    def _size(self, path: Path) -> tuple[int, int]:
        try:
            with safe_open(path, "np") as file:
                frames, objects = file.get_slice("areas").get_shape()
                return frames, objects
        except Exception as error:  # safetensors has no error of its own to catch
            raise ValueError(f"{path} cannot be read ({error}): {TORN}") from error

    def _write(self, path: Path, frames: list[ClipFrame]) -> None:
        images = torch.stack([torch.from_numpy(resize_frame(frame.image, self.size)) for frame in frames])
        largest: dict[int, int] = {}
        for frame in frames:
            for number, crop in (frame.masks or {}).items():
                largest[number] = max(largest.get(number, 0), crop.area)
        objects = sorted(sorted(largest, key=lambda number: -largest[number])[:OBJECTS])
        side, half = self.size, self.size // 2
        masks = np.zeros((len(frames), len(objects), side, side), np.bool_)
        for place, frame in enumerate(frames):
            for row, number in enumerate(objects):
                if frame.masks and number in frame.masks:
                    masks[place, row] = resized(frame.masks[number], side)
        tensors = {**encoded(self.encoder, images)}
        tensors["masks"] = torch.from_numpy(np.packbits(masks.reshape(*masks.shape[:2], side * side), axis=-1))
        tensors["areas"] = torch.from_numpy(masks.sum((2, 3)))
        tensors["thumbs"] = torch.from_numpy(np.stack([cv2.resize(i.numpy(), (half, half)) for i in images]))
        if self.teacher is not None and masks.any():  # nothing is asked of a clip that shows no object at this size
            answer = taught(self.teacher, images, masks)
            tensors |= {f"taught_{name}": value for name, value in vars(answer).items()}
        try:
            with draft(path) as own:
                save_file({name: value.contiguous() for name, value in tensors.items()}, own)
        except (OSError, SafetensorError) as error:  # safetensors raises its own where a disk is full
            raise OSError(
                f"{path} cannot be written ({error}): make room and start again, what is whole stays"
            ) from error


def frames_of(clip: Clip, count: int) -> list[ClipFrame]:
    """The first `count` annotated frames of a clip (0 = all).

    Raises:
        ValueError: it has none, or they cannot be read.
    """
    indices = list(clip.annotated)[: count or None]
    if not indices:
        raise ValueError(f"clip {clip.key} has no annotated frame")
    return list(clip.read(indices))


@torch.no_grad()
def encoded(encoder: ImageEncoder, images: Tensor) -> dict[str, Tensor]:
    """Features of frames uint8 [F, S, S, 3], in half precision, on the CPU."""
    device = next(encoder.parameters()).device
    parts = [encoder(images[start : start + BATCH].to(device)) for start in range(0, len(images), BATCH)]
    return {name: torch.cat([getattr(part, name) for part in parts]).half().cpu() for name in ("p16", "p8", "p4")}


def resized(crop: CroppedMask, side: int) -> NDArray[np.bool_]:
    """A mask in a frame of side x side pixels: those it covers by half."""
    share = cv2.resize(crop.full().astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 0.5)


def taught(teacher: Teacher, images: Tensor, masks: NDArray[np.bool_]) -> Taught:
    """A teacher follows the objects of a clip, each shown by its box in the first frame where it is seen.

    Args:
        images: uint8 [F, S, S, 3]; masks: [F, n, h, w], not all of them empty.
    """
    frames, objects = masks.shape[:2]
    side = images.shape[1] // 4
    out: Taught | None = None
    seen = masks.any((2, 3))  # [F, n]
    firsts = np.where(seen.any(0), seen.argmax(0), frames)
    for first in sorted(set(firsts.tolist()) - {frames}):
        rows = np.flatnonzero(firsts == first)
        corners = torch.tensor(np.stack([box_corners(masks[first, row]) for row in rows]), dtype=torch.float32)
        labels = torch.tensor([[2, 3]]).expand(len(rows), -1)
        said = teacher.clip(images[first:], corners, labels)
        if out is None:
            pointer = said.pointers.shape[-1]
            out = Taught(
                torch.zeros(frames, objects, side, side, dtype=torch.uint8), torch.zeros(frames, objects),
                torch.zeros(frames, objects, pointer), torch.zeros(frames, objects, dtype=torch.bool),
            )  # fmt: skip
        fine = torch.nn.functional.interpolate(said.masks.float(), (side, side), mode="bilinear", align_corners=False)
        out.masks[first:, rows] = (fine.sigmoid() * 255).round().to(torch.uint8).cpu()
        out.objectness[first:, rows] = said.objectness.float().cpu()
        out.pointers[first:, rows] = said.pointers.float().cpu()
        out.known[first:, rows] = True
    assert out is not None
    return out


def box_corners(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Upper left and lower right corner of a mask that is not empty: [2, 2], x and y in 0..1."""
    height, width = mask.shape
    x, y, w, h = cv2.boundingRect(np.ascontiguousarray(mask, np.uint8))
    return np.array([[x / width, y / height], [(x + w) / width, (y + h) / height]], np.float32)
