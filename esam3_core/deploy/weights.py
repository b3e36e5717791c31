# SPDX-License-Identifier: Apache-2.0
"""The weights of a bundle, read back from its graphs: a bundle is also where further training starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from esam3_core.deploy.half import HALF
from esam3_core.deploy.optimise import TRANSPOSED
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import Bundle

PREFIXES = {
    "image_encoder": ("encoder.", "image_encoder."),
    "text_encoder": ("encoder.", "text_encoder."),
    "detector": ("detector.", "detector."),
    "exemplar_encoder": ("encoder.", "exemplar_encoder."),
    "propagator": ("memory.", "memory."),
    "memorizer": ("memory.", "memory."),
    "refiner": ("refiner.", "refiner."),
}
"""Graph -> what its weights' names begin with, in the graph and in the student."""
ADDED = ("memory.", "exemplar_encoder.", "refiner.")
"""What a student may have although the bundle or checkpoint from which it starts has none."""
UNUSED = ("text_encoder.sentence.", "num_batches_tracked")  # parts of the names of weights that no graph needs


def bundle_student(bundle: Bundle, refiner: bool = True) -> Student:
    """The student that a bundle was made from, in evaluation mode, if wanted without its refiner; raises as
    `load_weights` does."""
    config = bundle.student if refiner else replace(bundle.student, refiner=False)
    student = Student(config).eval()
    load_weights(student, bundle.folder)
    return student


def load_weights(student: Student, folder: Path) -> None:
    """Give a student the weights of a bundle made from the same configuration, in half precision as it keeps them.

    What a graph does not need stays as it is: the sentence head of the text encoder; memory, exemplar encoder and
    refiner where the bundle has none.

    Args:
        folder: the bundle.

    Raises:
        ValueError: if the bundle does not hold a weight of the student in its shape.
    """
    graphs = [graph for graph in PREFIXES if (folder / f"{graph}.onnx").is_file()]
    found = {name: weight for graph in graphs for name, weight in graph_weights(folder, graph).items()}
    needed = [name for name in student.state_dict() if not any(part in name for part in UNUSED)]
    new = tuple(prefix for prefix in ADDED if not any(name.startswith(prefix) for name in found))
    needed = [name for name in needed if not (new and name.startswith(new))]
    _take(student, found, needed, folder)


def load_text_weights(student: Student, folder: Path) -> None:
    """Give a student the text encoder of a bundle, projector included; the sentence head, which no graph needs, is new.

    Raises:
        ValueError: if the bundle's text encoder is another one than the student's.
    """
    found = graph_weights(folder, "text_encoder")
    own = [name for name in student.state_dict() if name.startswith("text_encoder.")]
    _take(student, found, [name for name in own if not any(part in name for part in UNUSED)], folder)


def _take(student: Student, found: Mapping[str, Tensor], needed: Sequence[str], folder: Path) -> None:
    """Give a student the needed ones of the weights that a bundle holds, or none if one of them does not fit."""
    own = student.state_dict()
    wrong = [name for name in needed if name not in found or found[name].shape != own[name].shape]
    if wrong:
        raise ValueError(
            f"{folder} does not give {len(wrong)} weights of this student (first {wrong[0]}): "
            "use the student section of its student.yaml; bundles of RepViT students, whose branches are merged, and "
            "of older versions cannot be trained further: start from the checkpoint; if only the refiner does not fit, "
            "renew the bundle with that of another one (`esam3 export OLD --refiner tabletop --out NEW`)"
        )
    student.load_state_dict({name: found[name] for name in needed}, strict=False)


def graph_weights(folder: Path, graph: str) -> dict[str, Tensor]:
    """Weights of one graph by the names that the student gives them, float32.

    Args:
        folder: the bundle; graph: one of `PREFIXES`.
    """
    theirs, ours = PREFIXES[graph]
    weights = {}
    for tensor in onnx.load(str(folder / f"{graph}.onnx")).graph.initializer:
        name = tensor.name.removesuffix(HALF)
        if not name.startswith(theirs):
            continue
        values = numpy_helper.to_array(tensor).astype(np.float32)
        values = values.T if name.endswith(TRANSPOSED) else values
        short = name.removeprefix(theirs).removesuffix(TRANSPOSED)
        weights[f"{ours}{short}"] = torch.tensor(values.copy())
    return weights
