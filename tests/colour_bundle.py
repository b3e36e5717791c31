# SPDX-License-Identifier: Apache-2.0
"""A bundle whose results one can predict: its student finds blobs of a named colour.

The graphs satisfy the contract of a real bundle and run in real ONNX Runtime, but hold no learned weight: the text
encoder looks up a colour, the image encoder averages cells, the detector labels connected cells of that colour. So
tests of tracker, command line and nodes know what must come out. "red", "red ball" and "small red" all mean red;
words that name no colour are found nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

from esam3_core.config import BUNDLE_FORMAT, MemoryConfig, StudentConfig, TextConfig, to_dict
from esam3_core.runtime.bundle import file_digest

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 70, 220),
    "yellow": (240, 210, 40),
    "magenta": (210, 40, 200),
    "cyan": (40, 210, 220),
}
"""Concept -> RGB."""

BACKGROUND = (128, 128, 128)
SIZE, WIDTH, CONTEXT, QUERIES, MASKS = 256, 32, 8, 16, 8
CELLS = SIZE // 4
REACH = 0.35  # distance in RGB (0..1) within which a cell has the colour
SPREAD_STEPS = 48  # cells a label spreads along a blob
NOTHING = -8.0  # logit


def write_colour_bundle(
    folder: Path,
    name: str = "colours",
    memory: MemoryConfig | None = None,
    more_graphs: Mapping[str, Callable[[], onnx.ModelProto]] | None = None,
    **overrides: dict[str, Any],
) -> Path:
    """Write the bundle into `folder`; `overrides` such as detector={"min_area": 1} go into its student.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    config = StudentConfig(
        size=SIZE,
        width=WIDTH,
        queries=QUERIES,
        masks=MASKS,
        text=TextConfig(vocab_size=4 + len(COLOURS), context=CONTEXT),
        memory=memory or MemoryConfig(),
    )
    graphs = {}
    for graph, build in (
        ("image_encoder", _image_encoder),
        ("text_encoder", _text_encoder),
        ("detector", _detector),
        *(more_graphs or {}).items(),
    ):
        path = folder / f"{graph}.onnx"
        onnx.save(build(), path)
        graphs[graph] = {"file": path.name, "sha256": file_digest(path)}
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer()), encoding="utf-8")
    card = {
        "format": BUNDLE_FORMAT,
        "name": name,
        "student": to_dict(config),
        "concepts": list(COLOURS),
        "graphs": graphs,
        "provenance": {"made_by": "tests/colour_bundle.py"},
        "licence": "Apache-2.0",
        **overrides,
    }
    (folder / "student.yaml").write_text(yaml.safe_dump(card), encoding="utf-8")
    return folder


def draw_blobs(blobs: Sequence[tuple[str, float, float, float]], size: tuple[int, int] = (480, 640)) -> np.ndarray:
    """A frame uint8 RGB [H, W, 3] with discs (colour, centre x, centre y, radius in pixels), later ones in front."""
    height, width = size
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    for colour, x, y, radius in blobs:
        image[disc(x, y, radius, size)] = COLOURS[colour]
    return image


def disc(x: float, y: float, radius: float, size: tuple[int, int] = (480, 640)) -> np.ndarray:
    """The true mask of a blob: bool [H, W]."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


class _Graph:
    """Collects nodes; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def __call__(self, kind: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        name = result or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def model(self, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "colours", inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.checker.check_model(model)
        return model


def _port(name: str, shape: list[int | str], kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _feature_ports() -> list[Any]:
    return [
        _port("p16", [1, WIDTH, SIZE // 16, SIZE // 16]),
        _port("p8", [1, WIDTH // 4, SIZE // 8, SIZE // 8]),
        _port("p4", [1, WIDTH // 8, CELLS, CELLS]),
    ]


def _image_encoder() -> onnx.ModelProto:
    """Each level is the mean RGB of its cells in the first three channels, zeros in the others."""
    g = _Graph()
    floats = g("Cast", "image", to=TensorProto.FLOAT)
    rgb = g("Div", g("Transpose", floats, perm=[0, 3, 1, 2]), g.constant(255.0))  # [1, 3, S, S]
    for name, stride, channels in (("p16", 16, WIDTH), ("p8", 8, WIDTH // 4), ("p4", 4, WIDTH // 8)):
        cells = g("AveragePool", rgb, kernel_shape=[stride] * 2, strides=[stride] * 2)
        g("Pad", cells, g.constant([0, 0, 0, 0, 0, channels - 3, 0, 0], np.int64), result=name)
    return g.model([_port("image", [1, SIZE, SIZE, 3], TensorProto.UINT8)], _feature_ports())


def _text_encoder() -> onnx.ModelProto:
    """A token is its colour in the first three channels and, in the fourth, whether it names one."""
    table = np.zeros((4 + len(COLOURS), WIDTH), np.float32)
    for row, colour in enumerate(COLOURS.values(), start=4):
        table[row, :4] = [*(value / 255 for value in colour), 1.0]
    g = _Graph()
    g("Gather", g.constant(table), "tokens", result="prompt")
    tokens = _port("tokens", ["C", CONTEXT], TensorProto.INT64)
    return g.model([tokens], [_port("prompt", ["C", CONTEXT, WIDTH])])


def _detector() -> onnx.ModelProto:
    g = _Graph()
    colour, presence = _named_colour(g)
    likeness = _likeness(g, colour)  # [C, 1, h, w], > 0 where a cell has the colour
    labels, seeds = _label_blobs(g, likeness)
    flat_seeds = g("Reshape", seeds, g.constant([0, -1], np.int64))  # [C, h * w]
    queries, _ = _top(g, flat_seeds, QUERIES)  # [C, Q] labels, 0 = none
    columns = g("Unsqueeze", queries, g.constant([2, 3], np.int64))  # [C, Q, 1, 1]
    member = g("And", g("Equal", labels, columns), g("Greater", columns, g.constant(0.0)))
    inside = g("Where", member, likeness, g.constant(NOTHING))  # [C, Q, h, w]
    logits = g("ReduceMax", inside, g.constant([2, 3], np.int64), keepdims=0, result="logits")
    _, kept = _top(g, logits, MASKS)
    g("Identity", kept, result="kept")
    _boxes(g, member)
    _masks(g, member, likeness, kept)
    g("Identity", presence, result="presence")
    return g.model(
        [
            *_feature_ports(),
            _port("prompt", ["C", "L", WIDTH]),
            _port("prompt_pad", ["C", "L"], TensorProto.BOOL),
        ],
        [
            _port("boxes", ["C", QUERIES, 4]),
            _port("logits", ["C", QUERIES]),
            _port("presence", ["C"]),
            _port("kept", ["C", MASKS], TensorProto.INT64),
            _port("masks", ["C", MASKS, CELLS, CELLS]),
        ],
    )


def _named_colour(g: _Graph) -> tuple[str, str]:
    """The mean colour of the prompt's colour words [C, 3], and a presence logit [C]."""
    real = g("Cast", g("Not", "prompt_pad"), to=TensorProto.FLOAT)
    tokens = g("Mul", "prompt", g("Unsqueeze", real, g.constant([2], np.int64)))
    total = g("ReduceSum", tokens, g.constant([1], np.int64), keepdims=0)  # [C, d]
    rgb = _slice(g, total, 0, 3)
    count = _slice(g, total, 3, 4)  # [C, 1]
    colour = g("Div", rgb, g("Max", count, g.constant(1.0)))
    named = g("Greater", g("Squeeze", count, g.constant([1], np.int64)), g.constant(0.0))
    return colour, g("Where", named, g.constant(-NOTHING), g.constant(NOTHING))


def _likeness(g: _Graph, colour: str) -> str:
    cells = _slice(g, "p4", 0, 3)  # [1, 3, h, w]
    other = g("Sub", cells, g("Unsqueeze", colour, g.constant([2, 3], np.int64)))
    square = g("ReduceSum", g("Mul", other, other), g.constant([1], np.int64), keepdims=1)
    return g("Mul", g("Sub", g.constant(REACH), g("Sqrt", square)), g.constant(20.0))


def _label_blobs(g: _Graph, likeness: str) -> tuple[str, str]:
    """Each cell of a blob gets the greatest index in it; the seed is the cell that had it from the start."""
    index = g.constant(np.arange(1, CELLS * CELLS + 1).reshape(1, 1, CELLS, CELLS))
    blob = g("Cast", g("Greater", likeness, g.constant(0.0)), to=TensorProto.FLOAT)
    first = labels = g("Mul", blob, index)
    for _ in range(SPREAD_STEPS):
        labels = g("Mul", _grow(g, labels), blob)
    zero = g.constant(0.0)
    seeds = g("Where", g("Equal", labels, first), first, zero)
    return labels, seeds


def _boxes(g: _Graph, member: str) -> None:
    """cxcywh in 0..1 of each query's cells; 0 where it has none."""
    found = g("ReduceMax", g("Cast", member, to=TensorProto.FLOAT), g.constant([2, 3], np.int64), keepdims=0)
    centres, sides = [], []
    for shape in ((1, 1, 1, CELLS), (1, 1, CELLS, 1)):
        place = np.arange(CELLS, dtype=np.float32).reshape(shape) / CELLS
        axes = g.constant([2, 3], np.int64)
        low = g("ReduceMin", g("Where", member, g.constant(place), g.constant(2.0)), axes, keepdims=0)
        high = g("ReduceMax", g("Where", member, g.constant(place + 1 / CELLS), g.constant(-2.0)), axes, keepdims=0)
        centres.append(g("Mul", g("Mul", g("Add", low, high), g.constant(0.5)), found))
        sides.append(g("Mul", g("Sub", high, low), found))
    parts = [g("Unsqueeze", part, g.constant([2], np.int64)) for part in centres + sides]
    g("Concat", *parts, axis=2, result="boxes")


def _masks(g: _Graph, member: str, likeness: str, kept: str) -> None:
    """Likeness in and just around the blob, so that its border falls between cells."""
    floats = g("Cast", member, to=TensorProto.FLOAT)
    chosen = g("GatherND", floats, g("Unsqueeze", kept, g.constant([2], np.int64)), batch_dims=1)  # [C, K, h, w]
    near = g("Greater", _grow(g, chosen), g.constant(0.5))
    g("Where", near, likeness, g.constant(NOTHING), result="masks")


def _grow(g: _Graph, cells: str) -> str:
    return g("MaxPool", cells, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _slice(g: _Graph, value: str, start: int, stop: int) -> str:
    """Channels start..stop of axis 1."""
    return g("Slice", value, *(g.constant([n], np.int64) for n in (start, stop, 1)))


def _top(g: _Graph, value: str, count: int) -> tuple[str, str]:
    """The greatest `count` values along axis 1, and where they are."""
    best, where = g("TopK", value, g.constant([count], np.int64), axis=1), f"t{len(g.nodes)}"
    g.nodes[-1].output.append(where)
    return best, where


def _tokenizer() -> dict[str, Any]:
    words = ["[PAD]", "[UNK]", "[START]", "[END]", *COLOURS]
    start, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ("[START]", "[END]"))
    special = {name: {"id": name, "ids": [words.index(name)], "tokens": [name]} for name in ("[START]", "[END]")}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, text, end],
            "pair": [start, text, end, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": special,
        },
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, word in enumerate(words)},
            "unk_token": "[UNK]",
        },
    }
