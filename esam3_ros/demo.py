# SPDX-License-Identifier: Apache-2.0
"""The demo: camera, tracker and overlay as separate processes over real topics, and what came of it.

    python -m esam3_ros.demo                                      # simulated tabletop, with truth
    python -m esam3_ros.demo --source video.mp4 --concept mug     # a video, a folder of images, or a bag
    python -m esam3_ros.demo --source video.mp4 --concept mug --masks masks.npz    # and how well it agrees with masks

Writes OUT/demo.mp4, demo.png, demo.json and demo.jsonl (one line per frame, as `esam3 track` writes them).
"""

from __future__ import annotations

import argparse
import json
import queue
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esam3_core.config import CameraConfig, NodeConfig, RuntimeConfig
from esam3_core.runtime import Esam3Error
from esam3_core.runtime.results import frame_record
from esam3_core.runtime.sources import open_source
from esam3_ros.camera_sources import SCENE
from esam3_ros.collector import Collector, Shot
from esam3_ros.concept_control import parse
from esam3_ros.demo_nodes import demo_nodes
from esam3_ros.demo_pictures import Album
from esam3_ros.isolation import isolate
from esam3_ros.processes import ChildDiedError, Nodes
from esam3_ros.scoring import MaskFile, Scorer, distinct_tracks

PATIENCE = 900.0  # s until the first frame must be there: a busy machine needs minutes to make a scene
SILENCE = 4.0  # s without a word from any node after which the source is over; a slow tracker is waited for


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception, so that the children are ended
    isolate()
    try:
        result = run(options)
    except (Esam3Error, ChildDiedError, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130
    print(table(result, options.out))
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run the nodes until enough frames are done; writes the files and returns the content of demo.json.

    Raises:
        Esam3Error: the source, the masks or the concepts are of no use, or the tracker cannot work.
        ChildDiedError: a node ended; the message holds the end of its log.
        TimeoutError: nothing came in time.
    """
    simulated = options.source == SCENE
    camera = _camera(options)
    concepts = list(parse(options.concept, RuntimeConfig().max_concepts))
    specs = demo_nodes(camera, options.concept, options.bundle)
    options.out.mkdir(parents=True, exist_ok=True)
    masks = MaskFile(options.masks) if options.masks else None
    album, scorer, shots = Album(), Scorer(concepts), []
    with Collector(with_truth=simulated) as collector, Nodes(specs, options.out / "log") as nodes:
        print(f"demo: {options.source}, looking for {', '.join(concepts)}, {options.frames} frames", flush=True)
        if simulated:
            print(f"demo: making {camera['clip']} frames first: later all cores belong to the nodes", flush=True)
        for shot in _shots(collector, nodes, options.frames):
            album.add(shot)
            if masks is not None and (ids := masks.ids(shot.frame)) is not None:
                scorer.add(shot.tracks, ids, masks.instances(concepts))
            elif shot.ids is not None and shot.instances is not None:
                scorer.add(shot.tracks, shot.ids, shot.instances)
            shots.append(_light(shot))
    result = _summarise(shots, options, scorer if simulated or masks else None)
    album.save(options.out, rate=result["fps"] or camera["rate"])
    with (options.out / "demo.jsonl").open("w", encoding="utf-8") as lines:
        records = (frame_record(shot.frame, shot.stamp, shot.tracks) for shot in shots)
        lines.writelines(json.dumps(record) + "\n" for record in records)
    (options.out / "demo.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _camera(options: argparse.Namespace) -> dict[str, Any]:
    """The camera's parameters."""
    camera = {"source": options.source, "rate": options.rate, "seed": options.seed, "loop": False}
    if options.source == SCENE:
        camera["clip"] = options.frames + options.frames // 5 + 15  # some are dropped where the tracker is slower
    else:
        camera["rate"] = float(open_source(options.source).rate)  # fails here, rather than in a child
    return {**camera, "await_subscribers": 2}  # tracker and overlay


def _shots(collector: Collector, nodes: Nodes, count: int) -> Iterator[Shot]:
    """The first `count` complete frames; fewer if the source ends before."""
    last = time.monotonic()
    done = 0
    while done < count:
        nodes.check()
        if collector.problem:
            raise Esam3Error(f"the tracker cannot work: {collector.problem}")
        try:
            shot = collector.shots.get(timeout=0.5)
        except queue.Empty:
            now = time.monotonic()
            silent_for = now - last
            if done and now - max(last, collector.heard) > SILENCE:
                return
            if silent_for > PATIENCE:
                raise TimeoutError(f"no frame for {silent_for:.0f} s; the logs end with\n{nodes.report()}") from None
            continue
        last = time.monotonic()
        done += 1
        yield shot


def _light(shot: Shot) -> Shot:
    """A shot without its pictures: hundreds are kept."""
    return Shot(shot.stamp, shot.age, shot.frame, np.empty(0), shot.tracks, shot.version, None, None)


def _summarise(shots: list[Shot], options: argparse.Namespace, scorer: Scorer | None) -> dict[str, Any]:
    ages = [shot.age * 1e3 for shot in shots] or [0.0]
    span = shots[-1].stamp - shots[0].stamp if len(shots) > 1 else 0.0
    scores = scorer.result() if scorer else {"mean_iou": None, "id_switches": None}
    return {
        "frames": len(shots),
        "fps": round((len(shots) - 1) / span, 2) if span > 0 else 0.0,
        "age_ms_p50": round(float(np.percentile(ages, 50)), 1),
        "age_ms_p95": round(float(np.percentile(ages, 95)), 1),
        **scores,
        "tracks": distinct_tracks([shot.tracks for shot in shots]),
        "source": str(options.source),
        "concept": options.concept,
        "bundle": options.bundle,
    }


def table(result: dict[str, Any], out: Path) -> str:
    """The result for people."""
    rows = [(name, value) for name, value in result.items() if name != "tracks"]
    lines = [f"{name:<16}{'not known' if value is None else value}" for name, value in rows]
    lines += ["track           id  concept            frames  score"]
    lines += [
        f"{'':<16}{track['id']:<4}{track['concept']:<19}{track['frames']:<8}{track['score']:.2f}"
        for track in result["tracks"]
    ]
    return "\n".join([*lines, f"written: {out}/demo.mp4, demo.png, demo.json, demo.jsonl"])


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m esam3_ros.demo", description=(__doc__ or "").splitlines()[0])
    camera = CameraConfig()
    parser.add_argument("--source", default=camera.source, help="scene, a video, a folder of images, or a bag")
    parser.add_argument("--concept", default="cup", help="what to look for, several with commas")
    parser.add_argument(
        "--masks", type=Path, metavar="FILE.npz", help="true masks of the object in a video, to compare"
    )
    parser.add_argument("--bundle", default=NodeConfig().bundle, help="the student: name or path of a bundle")
    parser.add_argument("--frames", type=int, default=300, help="processed frames to wait for (300)")
    parser.add_argument("--rate", type=float, default=camera.rate, help="pictures per second of the scene")
    parser.add_argument("--seed", type=int, default=camera.seed, help="of the scene")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder to write to (out)")
    options = parser.parse_args(arguments)
    if options.frames < 1:
        parser.error("--frames must be at least 1")
    if options.masks and (options.source == SCENE or "," in options.concept):
        parser.error("--masks holds one object of a video: give --source and one --concept")
    return options


if __name__ == "__main__":
    sys.exit(main())
