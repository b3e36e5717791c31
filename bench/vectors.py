# SPDX-License-Identifier: Apache-2.0
"""All parity vectors of official checkpoints, in torch and through ONNX Runtime: how far off, in units of what may be.

    python -m bench.vectors [--variants efficientvit_b1 repvit_m1_1 tinyvit_11m] [--only torch] [--json FILE]
    python -m bench.vectors --bundles FOLDER      # ONNX only: ev_m, rv_m, tv_m in FOLDER, imported from such weights

The vectors lie beside the repository, in ../shared/vectors: weights that are made from the names of the entries, and
what upstream computes with them. Ends with 1 if anything is off by more than 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from esam3_core.config import StudentConfig
from esam3_core.convert.ground import Official, resize
from esam3_core.deploy.export import export_graph, prepare
from esam3_core.deploy.graphs import graphs_of
from esam3_core.nn.sam3_memory import Sam3Memory
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import Bundle
from tests.convert.tracker_runs import RUNS, see, steps
from tests.convert.vectors import FOLDER, VARIANTS, excess, expected, imported, rule

GRAPHS = ("image_encoder", "text_encoder", "exemplar_encoder", "detector")
BUNDLES = {"efficientvit_b1": "ev_m", "repvit_m1_1": "rv_m", "tinyvit_11m": "tv_m"}
SEED = 2026  # of the stored image
PAD = 0  # token
Row = tuple[str, str, float]  # part, array, excess
Graph = Callable[..., list[Any]]


def main() -> int:
    """Check, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", nargs="+", default=[name.split("__")[0] for name in VARIANTS])
    parser.add_argument("--only", choices=("torch", "onnx"))
    parser.add_argument("--bundles", type=Path, metavar="FOLDER", help="bundles that were imported from such weights")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if not FOLDER.is_dir():
        parser.error(f"the parity vectors are not at {FOLDER}")
    rows: list[dict[str, Any]] = []
    for name in (name for name in VARIANTS if name.split("__")[0] in arguments.variants):
        if arguments.bundles:
            bundle = Bundle.load(arguments.bundles / BUNDLES[name.split("__")[0]])
            rows += [show(name, "onnx", *row) for row in in_onnx(name, bundle.student, opened(bundle.graphs))]
            continue
        student = imported(name, tracker=has_tracker(name)).student
        for way, check in (("torch", in_torch), ("onnx", through_export)):
            if arguments.only in (None, way):
                rows += [show(name, way, *row) for row in check(name, student)]
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    worst = max((row["excess"] for row in rows), default=0.0)
    print(f"{len(rows)} arrays, the worst at {worst:.3f} of its tolerance")
    return int(worst > 1)


def show(name: str, way: str, part: str, array: str, off: float) -> dict[str, Any]:
    """Print one row as soon as it is known."""
    print(f"{name.split('__')[0]:16} {way:6} {part:18} {array:30} {off:8.4f}{'  OFF' if off > 1 else ''}", flush=True)
    return {"variant": name, "way": way, "part": part, "array": array, "excess": off}


def has_tracker(name: str) -> bool:
    """Whether a variant's vectors have tracker runs."""
    return parts(name, "tracker_") != []


def parts(name: str, *beginnings: str) -> list[str]:
    """Parts of a variant's vectors whose names begin so."""
    found = (path.name.removeprefix(f"{name}.").removesuffix(".npz") for path in FOLDER.glob(f"visible/{name}.*.npz"))
    return sorted(part for part in found if part.startswith(beginnings))


@torch.inference_mode()
def in_torch(name: str, student: Student) -> Iterator[Row]:
    """Every part of a variant in torch."""
    official, image = Official(student), rule().image(SEED)
    features, wanted = official.encode_image(image), expected(name, "vision")
    for array, ours in (("fpn0", features.p4), ("fpn1", features.p8), ("fpn2", features.p16)):
        yield "vision", array, excess(array, ours, wanted)
    for part in parts(name, "text", "box"):
        wanted = expected(name, part)
        found = official.ground(image, str(wanted["prompt"]), boxes=wanted.get("box_cxcywh"))
        tokens = torch.from_numpy(wanted["tokens"].reshape(1, -1)).long()
        said = {
            "text_features": student.text_encoder(tokens), "memory": found.grounded.tokens[0],
            "queries": found.grounded.decoded.queries[-1], "pred_logits": found.logits,
            "presence_logit": found.presence, "pred_boxes": found.boxes, "scores": found.scores,
            "top5_masks": found.mask_logits(wanted["top5"].tolist()),
            "masks_all": found.mask_logits(range(len(found.logits))),
        }  # fmt: skip
        for array, value in said.items():
            yield part, array, excess(array, value, wanted)
    for part in parts(name, "tracker_"):
        run, memory, wanted = part.removeprefix("tracker_"), student.memory, expected(name, part)
        assert isinstance(memory, Sam3Memory)
        for number, told in enumerate(steps(memory, run, lambda n: see(student, SEED, n), RUNS[run])):
            for array, value in told.items():
                yield part, f"frame{number}_{array}", excess(f"frame{number}_{array}", value, wanted)


def through_export(name: str, student: Student) -> Iterator[Row]:
    """The image parts of a variant through ONNX Runtime, exported for that."""
    with TemporaryDirectory() as scratch:
        yield from in_onnx(name, student.config, opened(exported(student, Path(scratch))))


def in_onnx(name: str, config: StudentConfig, graphs: dict[str, Graph]) -> Iterator[Row]:
    """The image parts of a variant, graph by graph as a bundle has them."""
    frame = resize(rule().image(SEED), config.size).numpy()
    features, wanted = graphs["image_encoder"](image=frame)[:3], expected(name, "vision")
    for array, ours in zip(("fpn2", "fpn1", "fpn0"), features, strict=True):
        yield "vision", array, excess(array, ours, wanted)
    for part in parts(name, "text", "box"):
        wanted = expected(name, part)
        for array, value in detect(config, graphs, features, wanted).items():
            yield part, array, excess(array, value, wanted)


def detect(
    config: StudentConfig, graphs: dict[str, Graph], features: list[Any], wanted: dict[str, Any]
) -> dict[str, Any]:
    """What the graphs say of one prompt, by the names of the vectors."""
    room, tokens = config.memory.exemplars, wanted["tokens"].reshape(1, -1).astype(np.int64)
    text = graphs["text_encoder"](tokens=tokens)[0]
    boxes, labels = np.zeros((1, room, 4), np.float32), np.full((1, room), -1, np.int64)
    if "box_cxcywh" in wanted:
        boxes[0, 0], labels[0, 0] = wanted["box_cxcywh"].reshape(-1), 1
    shown, unseen = graphs["exemplar_encoder"](p16=features[0], boxes=boxes, labels=labels)
    prompt, pad = np.concatenate([text, shown], 1), np.concatenate([tokens == PAD, unseen], 1)
    p16, p8, p4 = features
    places, logits, presence, kept, masks = graphs["detector"](p16=p16, p8=p8, p4=p4, prompt=prompt, prompt_pad=pad)
    rows = [int(np.flatnonzero(kept[0] == query)[0]) for query in wanted["top5"]]
    scores = 1 / (1 + np.exp(-logits)) / (1 + np.exp(-presence[:, None]))
    return {
        "text_features": text, "pred_boxes": places, "pred_logits": logits, "presence_logit": presence,
        "scores": scores, "top5_masks": masks[0, rows],
    }  # fmt: skip


def exported(student: Student, folder: Path) -> dict[str, Path]:
    """The graphs that the image needs."""
    student, graphs = prepare(student, half=False), {}
    for graph in GRAPHS:
        graphs[graph] = folder / f"{graph}.onnx"
        export_graph(student, graph, graphs_of(student.config)[graph], graphs[graph])
    return graphs


def opened(paths: dict[str, Path]) -> dict[str, Graph]:
    """Graphs, ready to run."""
    import onnxruntime as ort

    graphs: dict[str, Graph] = {}
    for graph in GRAPHS:
        session = ort.InferenceSession(str(paths[graph]), providers=["CPUExecutionProvider"])
        graphs[graph] = lambda session=session, **feeds: session.run(None, feeds)  # type: ignore[misc]
    return graphs


if __name__ == "__main__":
    sys.exit(main())
