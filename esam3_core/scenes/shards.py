# SPDX-License-Identifier: Apache-2.0
"""Worlds into shards: WebDataset tar files, written whole or not at all, rendered by several processes.

Per sample: `{key}.jpg`, `{key}.ids.png` (uint16 instance ids, 0 = none), `{key}.depth.png` (uint16 millimetres,
0 = farther than 65 m), `{key}.json` (truth).
"""

from __future__ import annotations

import errno
import io
import json
import multiprocessing
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from esam3_core.config import SceneConfig
from esam3_core.scenes.frame import SceneFrame
from esam3_core.scenes.world import World

SHARD_SAMPLES = 500
_MANIFEST = "scenes.json"
_SEED_STRIDE = 1_000_000  # worlds per --seed: runs with other seeds share none
_MIN_PIXELS = 40  # of the largest object; a frame with less shows nothing
_NEAR, _NEAR_SHARE = 0.14, 0.3  # m, share of the frame: more than this so close is a blocked view
_EXTRA_FRAMES = 6  # rendered at most to replace frames that show nothing

Sample = tuple[str, dict[str, bytes]]


@dataclass(frozen=True)
class Job:
    """One world to render: its number in the run, its seed, and how many frames to keep."""

    scene: int
    seed: int
    frames: int
    config: SceneConfig


@dataclass
class Totals:
    """What a run wrote."""

    samples: int = 0
    shards: int = 0
    kept_shards: int = 0  # found finished
    failed_scenes: int = 0


def render(out: Path, config: SceneConfig, seed: int, scenes: int, frames: int, workers: int) -> Totals:
    """Render `scenes` worlds with `frames` frames each into shards under `out`; finished shards are kept.

    Raises:
        ValueError: when `out` holds shards of another run, or a number makes no sense.
        OSError: when `out` cannot be written (not allowed, disk full); the message names the remedy.
        RuntimeError: when a worker died.
    """
    if min(scenes, frames, workers) < 1 or scenes > _SEED_STRIDE:
        raise ValueError(f"scenes, frames and workers must be at least 1 (and scenes at most {_SEED_STRIDE})")
    if seed < 0:
        raise ValueError(f"seed must not be negative, but is {seed}")
    try:
        _open_folder(out, {"seed": seed, "scenes": scenes, "frames": frames, "config": asdict(config)})
        return _render_missing(out, config, seed, scenes, frames, workers)
    except OSError as error:
        raise _explained(error, out) from error


def _open_folder(out: Path, run: dict[str, Any]) -> None:
    """Make the folder, clear torn shards away, and refuse to mix two runs."""
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / _MANIFEST
    run = json.loads(json.dumps(run))
    if manifest.exists():
        try:
            before = json.loads(manifest.read_text())
        except ValueError:
            raise ValueError(f"{manifest} is damaged: delete the folder or choose another") from None
        if before != run:
            raise ValueError(
                f"{out} holds shards of a run with other settings (see {_MANIFEST}): "
                "choose another folder or repeat that run's options"
            )
    elif any(out.glob("*.tar")):
        raise ValueError(f"{out} holds tar files that this command did not write: choose another folder")
    else:
        temporary = out / f".{_MANIFEST}.part"
        temporary.write_text(json.dumps(run, indent=1))
        temporary.replace(manifest)
    for torn in out.glob(".*.tar.part"):
        torn.unlink()


def _render_missing(out: Path, config: SceneConfig, seed: int, scenes: int, frames: int, workers: int) -> Totals:
    totals = Totals()
    per_shard = max(1, min(SHARD_SAMPLES // frames, -(-scenes // 8)))
    missing: list[tuple[Path, list[Job]]] = []
    for number, first in enumerate(range(0, scenes, per_shard)):
        path = out / f"{config.split}-{number:05d}.tar"
        jobs = [Job(i, seed * _SEED_STRIDE + i, frames, config) for i in range(first, min(first + per_shard, scenes))]
        if path.exists():
            totals.kept_shards += 1
        else:
            missing.append((path, jobs))
    todo = [job for _, jobs in missing for job in jobs]
    if not todo:
        return totals
    context = multiprocessing.get_context("spawn")  # an OpenGL context does not survive a fork
    with (
        ProcessPoolExecutor(min(workers, len(todo)), context) as pool,
        tqdm(total=len(todo) * frames, unit="img", smoothing=0.05) as bar,
    ):
        try:
            results = pool.map(render_scene, todo)
            for path, jobs in missing:
                totals.samples += _write_shard(path, len(jobs), results, bar, totals, frames)
                totals.shards += 1
        except BrokenProcessPool:
            raise RuntimeError(
                "a render process died (out of memory?): run the same command again with fewer --workers; "
                "finished shards are kept"
            ) from None
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return totals


def _write_shard(
    path: Path, count: int, results: Iterator[list[Sample] | None], bar: Any, totals: Totals, frames: int
) -> int:
    """Take `count` worlds from the results into one tar; it gets its name only when it is complete."""
    part = path.with_name(f".{path.name}.part")
    written = 0
    with open(part, "wb") as stream:
        with tarfile.open(fileobj=stream, mode="w") as tar:
            for _ in range(count):
                samples = next(results)
                if samples is None:
                    totals.failed_scenes += 1
                for key, files in samples or ():
                    for suffix, content in files.items():
                        entry = tarfile.TarInfo(f"{key}.{suffix}")
                        entry.size = len(content)
                        tar.addfile(entry, io.BytesIO(content))
                    written += 1
                bar.update(frames)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    return written


def render_scene(job: Job) -> list[Sample] | None:
    """The samples of one world; None when it could not be built."""
    try:
        world = World(job.seed, job.config)
    except ValueError:
        return None
    try:
        samples: list[Sample] = []
        for _ in range(job.frames + _EXTRA_FRAMES):
            frame = world.step()
            if shows_something(frame, world):
                samples.append(encode(frame, job, len(samples)))
            if len(samples) == job.frames:
                break
        return samples
    finally:
        world.close()


def shows_something(frame: SceneFrame, world: World) -> bool:
    """Whether a frame is worth keeping: an object in view (unless the world has none), and no blocked view."""
    if (frame.depth < _NEAR).mean() > _NEAR_SHARE:
        return False
    if not any(t.kind for t in world.things):
        return True
    return any(i.area >= _MIN_PIXELS for i in frame.instances)


def encode(frame: SceneFrame, job: Job, number: int) -> Sample:
    """A frame as the files of one sample."""
    key = f"{job.config.split}-{job.seed:09d}-{number:03d}"
    depth = np.where(frame.depth < 65.0, np.rint(frame.depth * 1000), 0).astype(np.uint16)
    truth = {
        "key": key,
        "seed": job.seed,
        "scene": job.scene,
        "frame": number,
        "split": job.config.split,
        **frame.truth(),
    }
    return key, {
        "jpg": _image(".jpg", frame.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92]),
        "ids.png": _image(".png", frame.ids, [cv2.IMWRITE_PNG_COMPRESSION, 3]),
        "depth.png": _image(".png", depth, [cv2.IMWRITE_PNG_COMPRESSION, 1]),
        "json": json.dumps(truth, separators=(",", ":")).encode(),
    }


def _image(suffix: str, picture: Any, options: list[int]) -> bytes:
    ok, code = cv2.imencode(suffix, picture, options)
    if not ok:
        raise ValueError(f"OpenCV could not encode a {suffix} picture")
    return bytes(code)


def _explained(error: OSError, out: Path) -> OSError:
    """The same error with a remedy."""
    if error.errno == errno.ENOSPC:
        return OSError(
            errno.ENOSPC,
            f"the disk that holds {out} is full: free some space and run the same command again; "
            "finished shards are kept",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OSError(error.errno, f"{out} is not writable: choose another folder or change its permissions")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return OSError(error.errno, f"{out} is not a folder: choose another name")
    return error
