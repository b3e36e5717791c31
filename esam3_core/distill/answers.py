# SPDX-License-Identifier: Apache-2.0
"""What a teacher says of views, as records of a cache and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from esam3_core.config_stage1 import CacheConfig
from esam3_core.data.augment import View
from esam3_core.distill.boxes import corners
from esam3_core.distill.cache_shard import Record
from esam3_core.distill.quantise import pack, unpack
from esam3_core.distill.teacher import Levels, Teacher, TeacherError

CORNERS = (2, 3)  # labels of a box's corners


@dataclass
class Answer:
    """What a teacher says of one view."""

    levels: dict[str, np.ndarray]  # float32 [C, h, w]
    instances: np.ndarray  # int64 [n], which instances of the view were asked for
    masks: np.ndarray  # float32 [n, h, w], 0..1: the teacher's masks for their boxes


def chosen_instances(seen: View, prompts: int) -> np.ndarray:
    """At most `prompts` instances of a view, the largest ones: int64 [n]."""
    areas = seen.boxes[:, 2] * seen.boxes[:, 3]
    return np.sort(np.argsort(-areas, kind="stable")[:prompts])


@torch.no_grad()
def ask(
    teacher: Teacher, views: list[View], levels: tuple[str, ...], prompts: int, device: torch.device
) -> list[Answer]:
    """A teacher's answers to some views.

    Raises:
        TeacherError: it lacks one of the levels.
    """
    check_levels(teacher, levels)
    found = teacher.features(torch.from_numpy(np.stack([seen.image for seen in views])).to(device))
    wanted = [chosen_instances(seen, prompts if teacher.prompted_levels else 0) for seen in views]
    masks = _masks(teacher, found, [torch.from_numpy(v.boxes[w]) for v, w in zip(views, wanted, strict=True)])
    return [
        Answer({name: found[name][row].float().cpu().numpy() for name in levels}, which, drawn)
        for row, (which, drawn) in enumerate(zip(wanted, masks, strict=True))
    ]


def _masks(teacher: Teacher, levels: Levels, boxes: list[Tensor]) -> list[np.ndarray]:
    frame = torch.cat([torch.full((len(b),), row) for row, b in enumerate(boxes)])
    if not len(frame):
        return [np.zeros((0, 1, 1), np.float32) for _ in boxes]
    device = next(iter(levels.values())).device
    points = corners(torch.cat(boxes)).reshape(-1, 2, 2).to(device)
    labels = torch.tensor(CORNERS, device=device).expand(len(points), -1)
    drawn = teacher.prompted(levels, frame.to(device), points, labels).masks.sigmoid().float().cpu()
    return [part.numpy() for part in drawn.split([len(b) for b in boxes])]


def check_levels(teacher: Teacher, levels: tuple[str, ...]) -> None:
    """Raises TeacherError for levels that a teacher does not have."""
    unknown = [name for name in levels if name not in teacher.channels]
    if unknown:
        raise TeacherError(f"this teacher has no level {', '.join(unknown)}; it has {', '.join(teacher.channels)}")


def to_record(answer: Answer, config: CacheConfig) -> Record:
    """Arrays to store: features in the cache's precision, masks as 256 shades."""
    record: Record = {"instances": answer.instances, "masks": np.rint(answer.masks * 255).astype(np.uint8)}
    for name, values in answer.levels.items():
        record |= {f"{name}.{part}": value for part, value in pack(values, config.precision).items()}
    return record


def from_record(record: Record, levels: tuple[str, ...]) -> Answer:
    """The answer of stored arrays."""
    found = {}
    for name in levels:
        parts = {key.removeprefix(f"{name}."): value for key, value in record.items() if key.startswith(f"{name}.")}
        found[name] = unpack(parts)
    return Answer(found, record["instances"], record["masks"].astype(np.float32) / 255)
