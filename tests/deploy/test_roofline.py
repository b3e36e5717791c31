# SPDX-License-Identifier: Apache-2.0
"""Arithmetic of a graph is counted from its shapes; the estimate says that it is one."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from esam3_core import cli
from esam3_core.deploy.arithmetic import operations_of, shapes_of, work_of
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.presets import BOARDS, Board
from esam3_core.deploy.roofline import PUBLISHED, as_markdown, estimate, least_ms
from esam3_core.runtime.bundle import Bundle

BOARD = Board("a board", 1, half_tflops=2.0, int8_tops=4.0, bandwidth=100.0)


def node(kind: str, *inputs: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), ["y"], **attributes)


@pytest.mark.parametrize(("made", "shapes", "products"), [
    (node("Conv", "x", "w"), {"x": (1, 8, 10, 10), "w": (16, 8, 3, 3), "y": (1, 16, 10, 10)}, 1600 * 72),
    (node("Conv", "x", "w", group=8), {"x": (1, 8, 10, 10), "w": (8, 1, 3, 3), "y": (1, 8, 10, 10)}, 800 * 9),
    (node("ConvTranspose", "x", "w"), {"x": (1, 8, 5, 5), "w": (8, 4, 2, 2), "y": (1, 4, 10, 10)}, 200 * 16),
    (node("MatMul", "x", "w"), {"x": (2, 6, 5), "w": (5, 7), "y": (2, 6, 7)}, 2 * 6 * 7 * 5),
    (node("Gemm", "x", "w", transA=1), {"x": (5, 6), "w": (5, 7), "y": (6, 7)}, 6 * 7 * 5),
    (node("Einsum", "x", "w", equation="bqd,bdh->bqh"), {"x": (2, 3, 4), "w": (2, 4, 5), "y": (2, 3, 5)}, 120),
    (node("Add", "x", "x"), {"x": (4,), "y": (4,)}, 0),
], ids=lambda value: getattr(value, "op_type", ""))  # fmt: skip
def test_a_product_costs_two_operations_per_pair(made: onnx.NodeProto, shapes: dict, products: int) -> None:
    assert operations_of(made, shapes) == 2 * products


def test_the_dynamic_axis_counts_as_often_as_it_is_used() -> None:
    weight = numpy_helper.from_array(np.ones((5, 7), np.float32), "w")
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tracks", 5]),
             helper.make_tensor_value_info("y", TensorProto.FLOAT, ["tracks", 7])]  # fmt: skip
    model = helper.make_model(helper.make_graph([node("MatMul", "x", "w")], "g", ports[:1], ports[1:], [weight]))
    assert shapes_of(model, 3)["y"] == (3, 7)
    (three,), (six,) = work_of(model, 3), work_of(model, 6)
    assert six.operations == 2 * three.operations == 6 * 5 * 7 * 2
    assert three.values == 3 * 5 + 5 * 7 + 3 * 7


def test_what_an_engine_fuses_costs_nothing() -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node("Relu", "x")], "g", ports[:1], ports[1:]))
    assert work_of(model, 1) == []


def test_a_node_waits_for_arithmetic_or_memory() -> None:
    model = read_graph(Bundle.load("tabletop").graphs["image_encoder"])
    work = work_of(model, 1)
    whole, halved = least_ms(work, BOARD, "fp16", 2), least_ms(work, BOARD, "int8", 1)
    assert halved < whole
    arithmetic, memory = sum(one.operations for one in work) / 2e9, sum(one.values for one in work) * 2 / 1e8
    assert max(arithmetic, memory) <= whole < arithmetic + memory


def test_a_frame_of_more_tracks_costs_more(colours: Bundle) -> None:
    def propagator(tracks: int) -> float:
        return next(one.ms["agx-orin"] for one in estimate(colours, "fp16", tracks, 1) if one.graph == "propagator")

    assert propagator(16) > propagator(5) == propagator(8) > propagator(1)  # in buckets


def test_the_page_says_that_it_is_an_estimate_and_names_others_beside_it(colours: Bundle) -> None:
    page = as_markdown(colours, estimate(colours, "fp16", 5, 1), "fp16", 5, 1)
    assert "An estimate, not a measurement" in page
    assert all(graph in page for graph in colours.graphs)
    assert all(board.title in page for board in BOARDS.values() if board.bandwidth)
    assert all(system in page for system, *_ in PUBLISHED)


def test_the_command_prints_it_and_refuses_what_no_engine_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["roofline", "tabletop", "--precision", "int8"]) == 0
    assert "| image_encoder | 1 |" in capsys.readouterr().out
    assert cli.main(["roofline", "tabletop", "--tracks", "17"]) == 2
    assert "--tracks is 17: one run of an engine takes 1 to 16" in capsys.readouterr().err
