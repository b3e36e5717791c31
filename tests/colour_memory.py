# SPDX-License-Identifier: Apache-2.0
"""Memory and exemplars for the colour bundle: tracks that remember a colour and where it was last.

The graphs obey the contract of a real bundle's. A latent holds the mean colour and the centre of a mask; the propagator
takes the blob of that colour which is nearest to the newest centre, if it is within JUMP; beyond, it draws the blob
faintly and does not believe in it. So tests know what a track must do: follow its blob, be lost when that is hidden or
far away, and come back with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from esam3_core.config import MemoryConfig
from tests.colour_bundle import (
    CELLS,
    NOTHING,
    SIZE,
    WIDTH,
    _feature_ports,
    _Graph,
    _label_blobs,
    _likeness,
    _port,
    _slice,
    write_colour_bundle,
)

MEMORY = MemoryConfig(
    kind="perceiver", width=8, ring=4, anchors=2, pointers=4, points=4, exemplars=4, latents_global=1, latents_2d=1
)
JUMP = 0.4  # of the frame: how far a blob may be from where it was
SLOTS, LATENTS = MEMORY.ring + MEMORY.anchors, MEMORY.tokens(SIZE)
GOOD, POOR = 0.95, 0.1  # expected IoU of a mask that is there, and of one that is not
FAINT = -0.5  # logit of a blob that is too far away to be believed in
OFF = 100.0  # added to the distance of cells that are of no blob


def write_memory_bundle(folder: Path, name: str = "colours", **overrides: dict[str, Any]) -> Path:
    """Write the colour bundle with memory and exemplars; see `write_colour_bundle`."""
    graphs = {"propagator": _propagator, "memorizer": _memorizer, "exemplar_encoder": _exemplar_encoder}
    return write_colour_bundle(folder, name, MEMORY, graphs, **overrides)


def _ints(g: _Graph, *values: int) -> str:
    return g.constant(list(values), np.int64)


def _memorizer() -> onnx.ModelProto:
    """Latents [T, 2, 8]: both hold the mean colour, the centre of the mask, and its objectness."""
    g = _Graph()
    inside = g("Cast", g("Greater", "masks", g.constant(0.0)), to=TensorProto.FLOAT)
    cells = g("Unsqueeze", inside, _ints(g, 1))  # [T, 1, h, w]
    share = g("AveragePool", cells, kernel_shape=[4, 4], strides=[4, 4])  # [T, 1, h/4, w/4]
    # Cells that are wholly inside count far more than those at the border, which hold background too.
    weight = g("Pow", share, g.constant(8.0))
    axes = _ints(g, 2, 3)
    total = g("Max", g("ReduceSum", weight, axes, keepdims=0), g.constant(1e-6))  # [T, 1]
    rgb = g("Div", g("ReduceSum", g("Mul", _slice(g, "p16", 0, 3), weight), axes, keepdims=0), total)  # [T, 3]
    count = g("Max", g("ReduceSum", cells, axes, keepdims=0), g.constant(1e-6))
    places = [
        g("Div", g("ReduceSum", g("Mul", cells, g.constant(_places(axis))), axes, keepdims=0), count) for axis in (3, 2)
    ]
    seen = g("Unsqueeze", "objectness", _ints(g, 1))
    told = g("Unsqueeze", g("Cast", "prompted", to=TensorProto.FLOAT), _ints(g, 1))
    latent = g("Concat", rgb, *places, seen, told, told, axis=1)  # [T, 8]
    one = g("Unsqueeze", latent, _ints(g, 1))
    g("Concat", one, one, axis=1, result="memory")
    return g.model(
        [
            _port("p16", [1, WIDTH, SIZE // 16, SIZE // 16]),
            _port("masks", ["T", CELLS, CELLS]),
            _port("objectness", ["T"]),
            _port("prompted", ["T"], TensorProto.BOOL),
        ],
        [_port("memory", ["T", LATENTS, MEMORY.width])],
    )


def _propagator() -> onnx.ModelProto:
    g = _Graph()
    remembered, known = _recall(g)
    pointed, shown = _pointed_at(g)
    colour = g("Where", known, _slice(g, remembered, 0, 3), _slice(g, pointed, 0, 3))  # [T, 3]
    place = g("Where", shown, _slice(g, pointed, 3, 5), _slice(g, remembered, 3, 5))  # [T, 2]
    likeness = _likeness(g, colour)  # [T, 1, h, w]
    labels, _ = _label_blobs(g, likeness)
    off_blob = g("Cast", g("LessOrEqual", likeness, g.constant(0.0)), to=TensorProto.FLOAT)
    cost = g("Add", _distances(g, place), g("Mul", off_blob, g.constant(OFF)))
    flat = g("Reshape", cost, _ints(g, 0, -1))  # [T, h * w]
    best = g("ArgMin", flat, axis=1, keepdims=1)  # [T, 1]
    nearest = g("GatherElements", flat, best, axis=1)  # [T, 1]
    meant = g("Or", known, shown)
    there = g("And", g("Less", nearest, g.constant(JUMP)), meant)  # [T, 1]
    anywhere = g("And", g("Less", nearest, g.constant(OFF)), meant)
    label = g("GatherElements", g("Reshape", labels, _ints(g, 0, -1)), best, axis=1)
    member = g("Equal", g("Squeeze", labels, _ints(g, 1)), g("Unsqueeze", label, _ints(g, 2)))  # [T, h, w]
    member = g("And", member, g("Unsqueeze", anywhere, _ints(g, 2)))
    drawn = g("Where", g("Unsqueeze", there, _ints(g, 2)), g("Squeeze", likeness, _ints(g, 1)), g.constant(FAINT))
    g("Where", member, drawn, g.constant(NOTHING), result="masks")
    flag = g("Squeeze", there, _ints(g, 1))
    g("Where", flag, g.constant(GOOD), g.constant(POOR), result="iou")
    g("Where", flag, g.constant(5.0), g.constant(-5.0), result="objectness")
    g("Pad", g("Concat", colour, place, axis=1), _ints(g, 0, 0, 0, WIDTH - 5), result="pointer")
    pointers = MEMORY.pointers
    return g.model(
        [
            *_feature_ports(),
            _port("memory", ["T", SLOTS, LATENTS, MEMORY.width]),
            _port("memory_age", ["T", SLOTS], TensorProto.INT64),
            _port("memory_used", ["T", SLOTS], TensorProto.BOOL),
            _port("pointers", ["T", pointers, WIDTH]),
            _port("pointer_age", ["T", pointers]),
            _port("pointer_used", ["T", pointers], TensorProto.BOOL),
            _port("points", ["T", MEMORY.points, 2]),
            _port("point_labels", ["T", MEMORY.points], TensorProto.INT64),
        ],
        [
            _port("masks", ["T", CELLS, CELLS]),
            _port("iou", ["T"]),
            _port("objectness", ["T"]),
            _port("pointer", ["T", WIDTH]),
        ],
    )


def _recall(g: _Graph) -> tuple[str, str]:
    """What is remembered [T, 8], the newest frame of the ring above all, and whether anything is [T, 1]."""
    used = g("Cast", "memory_used", to=TensorProto.FLOAT)
    age = g("Cast", "memory_age", to=TensorProto.FLOAT)
    old = g("Where", g("Equal", age, g.constant(0.0)), g.constant(float(SLOTS)), age)  # anchors count least
    weight = g("Mul", used, g("Exp", g("Mul", old, g.constant(-4.0))))  # [T, M]
    total = g("Max", g("ReduceSum", weight, _ints(g, 1), keepdims=1), g.constant(1e-30))
    latents = g("ReduceMean", "memory", _ints(g, 2), keepdims=0)  # [T, M, 8]
    share = g("Unsqueeze", g("Div", weight, total), _ints(g, 2))
    remembered = g("ReduceSum", g("Mul", latents, share), _ints(g, 1), keepdims=0)
    return remembered, g("Greater", g("ReduceMax", used, _ints(g, 1), keepdims=1), g.constant(0.0))


def _pointed_at(g: _Graph) -> tuple[str, str]:
    """Colour and place [T, 5] in the middle of positive points and corners, and whether there are any [T, 1]."""
    positive = g("Cast", g("Greater", "point_labels", _ints(g, 0)), to=TensorProto.FLOAT)  # [T, K]
    count = g("ReduceSum", positive, _ints(g, 1), keepdims=1)
    total = g("ReduceSum", g("Mul", "points", g("Unsqueeze", positive, _ints(g, 2))), _ints(g, 1), keepdims=0)
    place = g("Div", total, g("Max", count, g.constant(1.0)))  # [T, 2]
    cell = g("ArgMin", g("Reshape", _distances(g, place), _ints(g, 0, -1)), axis=1, keepdims=0)  # [T]
    pixels = g("Reshape", _slice(g, "p4", 0, 3), _ints(g, 3, -1))  # [3, h * w]
    colour = g("Transpose", g("Gather", pixels, cell, axis=1), perm=[1, 0])
    return g("Concat", colour, place, axis=1), g("Greater", count, g.constant(0.0))


def _distances(g: _Graph, place: str) -> str:
    """From a place [T, 2] to every cell, [T, 1, h, w], in sides of the frame."""
    total = ""
    for channel, axis in enumerate((3, 2)):
        column = g("Unsqueeze", _slice(g, place, channel, channel + 1), _ints(g, 2, 3))
        off = g("Sub", g.constant(_places(axis)), column)
        square = g("Mul", off, off)
        total = g("Add", total, square) if total else square
    return g("Sqrt", total)


def _places(axis: int) -> np.ndarray:
    shape = [1, 1, 1, 1]
    shape[axis] = CELLS
    return ((np.arange(CELLS, dtype=np.float32) + 0.5) / CELLS).reshape(shape)


def _exemplar_encoder() -> onnx.ModelProto:
    """A token is the colour in the middle of its box and, in the fourth channel, 1; both negative if the box is.

    So a negative exemplar takes a name or a positive exemplar of its colour back. The last token (CLS) says nothing.
    """
    g = _Graph()
    centres = g("Slice", "boxes", _ints(g, 0), _ints(g, 2), _ints(g, 2))  # [C, E, 2]
    side = SIZE // 16
    last = g.constant(float(side - 1))
    cells = g("Min", g("Floor", g("Mul", centres, g.constant(float(side)))), last)
    indices = g("ReduceSum", g("Mul", cells, g.constant([[[1.0, float(side)]]])), _ints(g, 2), keepdims=0)  # [C, E]
    pixels = g("Reshape", _slice(g, "p16", 0, 3), _ints(g, 3, -1))
    rgb = g("Transpose", g("Gather", pixels, g("Cast", indices, to=TensorProto.INT64), axis=1), perm=[1, 2, 0])
    one = g("Add", g("Mul", centres, g.constant(0.0)), g.constant(1.0))
    four = g("Concat", rgb, g("Slice", one, _ints(g, 0), _ints(g, 1), _ints(g, 2)), axis=2)  # [C, E, 4]
    sign = g("Where", g("Greater", "labels", _ints(g, 0)), g.constant(1.0), g.constant(-1.0))
    tokens = g("Mul", four, g("Unsqueeze", sign, _ints(g, 2)))
    g("Pad", tokens, _ints(g, 0, 0, 0, 0, 1, WIDTH - 4), result="prompt")  # [C, E + 1, d]
    padding = g("Cast", g("Less", "labels", _ints(g, 0)), to=TensorProto.FLOAT)
    g("Cast", g("Pad", padding, _ints(g, 0, 0, 0, 1)), to=TensorProto.BOOL, result="pad")
    boxes = MEMORY.exemplars
    return g.model(
        [
            _port("p16", [1, WIDTH, side, side]),
            _port("boxes", ["C", boxes, 4]),
            _port("labels", ["C", boxes], TensorProto.INT64),
        ],
        [_port("prompt", ["C", boxes + 1, WIDTH]), _port("pad", ["C", boxes + 1], TensorProto.BOOL)],
    )
