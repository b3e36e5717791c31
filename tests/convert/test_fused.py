# SPDX-License-Identifier: Apache-2.0
"""Attention over many tokens is one node for ONNX Runtime, and plain operators for everything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn

from esam3_core.deploy.fused import NAME, OPSET, explain_fused
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.optimise import optimise
from esam3_core.nn.fusion import FusionLayer
from esam3_core.nn.layers import LONG, ROWS, pad_bias

TOKENS = int(LONG**0.5)  # as few as are many
WIDTH, HEADS, FFN = 16, 2, 2048  # the hidden layer is as long as the logits
CONCEPTS = 2


class Layer(nn.Module):
    """A fusion layer as a graph has it: the concept differs, the frame is one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = FusionLayer(WIDTH, HEADS, FFN).eval()

    def forward(self, tokens: Tensor, prompt: Tensor, pad: Tensor) -> Tensor:
        return self.layer(tokens, torch.linspace(-1, 1, WIDTH), prompt, pad_bias(pad))


@pytest.fixture(scope="module")
def inputs() -> dict[str, Tensor]:
    torch.manual_seed(1)
    pad = torch.tensor([[False, False, True]]).expand(CONCEPTS, -1)
    return {"tokens": torch.randn(CONCEPTS, TOKENS, WIDTH), "prompt": torch.randn(CONCEPTS, 3, WIDTH), "pad": pad}


@pytest.fixture(scope="module")
def graph(inputs: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    axis = {0: torch.export.Dim("concepts", min=1, max=8)}
    program = torch.onnx.export(
        Layer().eval(), kwargs=inputs, dynamo=True, opset_version=OPSET, optimize=False, verbose=False,
        dynamic_shapes=dict.fromkeys(inputs, axis), output_names=["y"],
    )  # fmt: skip
    assert program is not None
    optimise(program.model)
    explain_fused(program.model)
    path = tmp_path_factory.mktemp("fused") / "layer.onnx"
    program.save(str(path))
    return path


def test_onnx_runtime_gets_one_node_and_says_what_torch_says(graph: Path, inputs: dict[str, Tensor]) -> None:
    assert [node.op_type for node in onnx.load(graph).graph.node].count(NAME) == 1
    feeds = {name: value.numpy() for name, value in inputs.items()}
    found = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"]).run(None, feeds)[0]
    with torch.inference_mode():
        np.testing.assert_allclose(found, Layer()(**inputs).numpy(), atol=1e-5)


def test_other_engines_get_plain_operators_that_say_the_same(graph: Path, inputs: dict[str, Tensor]) -> None:
    plain = read_graph(graph)
    assert not plain.functions and {node.domain for node in plain.graph.node} == {""}
    feeds = {name: value[:1].numpy() for name, value in inputs.items()}
    sessions = (ort.InferenceSession(it, providers=["CPUExecutionProvider"]) for it in (
        graph.read_bytes(), plain.SerializeToString()
    ))  # fmt: skip
    fused, written_out = (session.run(None, feeds)[0] for session in sessions)
    np.testing.assert_allclose(fused, written_out, atol=1e-5)


def test_the_feed_forward_part_goes_row_by_row(graph: Path) -> None:
    shapes = {value.name: value.type.tensor_type.shape.dim for value in read_graph(graph).graph.value_info}
    hidden = [dims[1].dim_value for dims in shapes.values() if len(dims) == 3 and dims[2].dim_value == FFN]
    assert hidden and max(hidden) == ROWS
