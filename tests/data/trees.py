# SPDX-License-Identifier: Apache-2.0
"""Small data sets in the formats in which the real ones are released."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco

from esam3_core.data.pictures import write_indices
from tests.drawn_data import SIZE, Thing, draw_things

RED, BLUE, GREEN = (
    Thing("ball", "red", 40, 60, 18), Thing("box", "blue", 120, 60, 18), Thing("ball", "green", 80, 30, 12)
)  # fmt: skip


def rle(mask: np.ndarray) -> dict[str, Any]:
    code = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": code["counts"].decode()}


def jpg(things: Sequence[Thing]) -> bytes:
    return cv2.imencode(".jpg", draw_things(things)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def moved(thing: Thing, dx: int) -> Thing:
    return Thing(thing.noun, thing.colour, thing.x + dx, thing.y, thing.radius)


def sa1b_record(number: int, masks: Sequence[np.ndarray]) -> dict[str, Any]:
    items = [
        {"id": 10 * number + i, "segmentation": rle(mask), "bbox": list(cv2.boundingRect(mask)),
         "area": int(mask.sum()), "predicted_iou": 0.95, "stability_score": 0.97,
         "point_coords": [[1.0, 2.0]], "crop_box": [0, 0, *SIZE[::-1]]}
        for i, mask in enumerate(masks)
    ]  # fmt: skip
    image = {"image_id": number, "width": SIZE[1], "height": SIZE[0], "file_name": f"sa_{number}.jpg"}
    return {"image": image, "annotations": items}


def write_sa1b(path: Path, pictures: dict[int, Sequence[Thing]], broken: dict[int, Any] | None = None) -> Path:
    """`broken`: number -> what stands in place of its record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, things in pictures.items():
            record = (broken or {}).get(number, sa1b_record(number, [t.mask() for t in things]))
            data = record if isinstance(record, bytes) else json.dumps(record).encode()
            for suffix, content in ((".jpg", jpg(things)), (".json", data)):
                info = tarfile.TarInfo(f"./sa_{number}{suffix}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


def write_sav(folder: Path, name: str, frames: int, kinds: Sequence[str] = ("manual",)) -> Path:
    """A video at 24/s of a red ball that moves a pixel a frame, with a blue box from annotated frame 2 on."""
    from esam3_core.runtime.video import VideoWriter

    folder.mkdir(parents=True, exist_ok=True)
    with VideoWriter(folder / f"{name}.mp4", 24) as writer:
        for index in range(frames):
            writer.write(draw_things([moved(RED, index), BLUE]))
    places = range(0, frames, 4)
    empty = np.zeros(SIZE, np.uint8)
    masklet = [[rle(moved(RED, i).mask()), rle(BLUE.mask() if i >= 8 else empty)] for i in places]
    record = {
        "video_id": name, "video_duration": frames / 24, "video_frame_count": float(frames),
        "video_height": float(SIZE[0]), "video_width": float(SIZE[1]), "video_split": "train", "masklet": masklet,
        "masklet_id": [0, 1], "masklet_first_appeared_frame": [0, 2], "masklet_type": ["manual"] * 2, "masklet_num": 2,
    }  # fmt: skip
    for kind in kinds:
        (folder / f"{name}_{kind}.json").write_text(json.dumps(record))
    return folder


def write_sav_val(root: Path, name: str = "vid", count: int = 21) -> Path:
    """Frames at 24/s, every fourth annotated: a red ball (000) that moves and a blue box (001), one PNG each."""
    for index in range(count):
        path = root / "JPEGImages_24fps" / name / f"{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpg([moved(RED, index), BLUE]))
        if index % 4 == 0:
            for number, thing in (("000", moved(RED, index)), ("001", BLUE)):
                write_indices(root / "Annotations_6fps" / name / number / f"{index:05d}.png", thing.mask())
    (root / "sav_val.txt").write_text(f"{name}\n")
    return root


def write_indexed(
    folder: Path, annotations: Path, count: int, step: int = 1, first: int = 0, digits: int = 5, late: int = 0
) -> None:
    """A sequence with a red ball (1) that moves and a blue box (2) from frame `late` on, and a strip of void."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        name = f"{first + index:0{digits}d}"
        there = index >= late
        (folder / f"{name}.jpg").write_bytes(jpg([moved(RED, 2 * index), *([BLUE] if there else [])]))
        if index % step == 0:
            numbers = moved(RED, 2 * index).mask() + 2 * BLUE.mask() * there
            numbers[-3:] = 255
            write_indices(annotations / f"{name}.png", numbers)


def write_davis(root: Path, names: Sequence[str] = ("bear", "dogs"), count: int = 6) -> Path:
    for name in names:
        write_indexed(root / "JPEGImages/480p" / name, root / "Annotations/480p" / name, count)
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("\n".join(names) + "\n")
    return root


def write_lvos(root: Path, name: str = "AbC123", count: int = 21) -> Path:
    """Annotated every fifth frame, frames counted from 1; the blue box comes in the sixth."""
    folder = root / "valid"
    write_indexed(folder / "JPEGImages" / name, folder / "Annotations" / name, count, step=5, first=1, digits=8, late=5)
    span = {"frame_range": {"start": "1", "end": str(count), "frame_nums": str((count - 1) // 5 + 1)}}
    late = {"frame_range": {"start": "6", "end": str(count), "frame_nums": str((count - 1) // 5)}}
    (root / "valid_meta.json").write_text(json.dumps({"videos": {name: {"objects": {"1": span, "2": late}}}}))
    return root


def saco_file(path: Path, pairs: Sequence[tuple[int, str, str, Sequence[np.ndarray], bool]]) -> Path:
    """(id, file, phrase, masks, annotated in full) -> a Gold file."""
    images = [
        {"id": number, "file_name": name, "text_input": phrase, "width": SIZE[1], "height": SIZE[0],
         "is_instance_exhaustive": int(whole), "is_pixel_exhaustive": int(whole), "queried_category": "0"}
        for number, name, phrase, _, whole in pairs
    ]  # fmt: skip
    annotations = [
        {"id": 100 * number + i, "image_id": number, "segmentation": rle(mask), "iscrowd": 0, "category_id": 1,
         "area": float(mask.mean()), "bbox": [0.0, 0.0, 1.0, 1.0], "source": "manual"}
        for number, _, _, masks, _ in pairs for i, mask in enumerate(masks)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}
    path.write_text(json.dumps(data))
    return path


def write_veval(root: Path, frames: int = 5) -> Path:
    """One video asked for "the red ball" (one masklet, gone in frame 2), "a blue box" and "dog"."""
    names = [f"sav_000001/{4 * i:05d}.jpg" for i in range(frames)]
    (root / "sav_000001").mkdir(parents=True)
    for i, name in enumerate(names):
        (root / name).write_bytes(jpg([moved(RED, 3 * i), BLUE]))
    red = [None if i == 2 else rle(moved(RED, 3 * i).mask()) for i in range(frames)]
    phrases = {7: ("the red ball", [red]), 8: ("a blue box", [[rle(BLUE.mask())] * frames]), 9: ("dog", [])}
    annotations = [
        {"id": 10 * c + i, "video_id": 0, "category_id": c, "noun_phrase": phrase, "segmentations": row,
         "bboxes": [None if r is None else [0, 0, 1, 1] for r in row], "areas": [None if r is None else 1 for r in row],
         "iscrowd": 0, "height": SIZE[0], "width": SIZE[1]}
        for c, (phrase, rows) in phrases.items() for i, row in enumerate(rows)
    ]  # fmt: skip
    data = {
        "videos": [{"id": 0, "video_name": "sav_000001", "file_names": names, "height": SIZE[0], "width": SIZE[1],
                    "length": frames}],
        "annotations": annotations,
        "categories": [{"id": c, "name": phrase} for c, (phrase, _) in phrases.items()],
        "video_np_pairs": [{"id": c, "video_id": 0, "category_id": c, "noun_phrase": phrase, "num_masklets": len(rows)}
                           for c, (phrase, rows) in phrases.items()],
    }  # fmt: skip
    path = root / "veval.json"
    path.write_text(json.dumps(data))
    return path


def coco_file(
    path: Path, images: Sequence[dict[str, Any]], annotations: Sequence[dict[str, Any]], names: Sequence[str]
) -> Path:
    """Categories are numbered from 1 in the order of `names`."""
    images = [{"width": SIZE[1], "height": SIZE[0], **image} for image in images]
    items = [{"id": i, "iscrowd": 0, **item} for i, item in enumerate(annotations, start=1)]
    categories = [{"id": i, "name": name, "synonyms": [name]} for i, name in enumerate(names, start=1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": items, "categories": categories}))
    return path
