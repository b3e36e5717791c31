# SPDX-License-Identifier: Apache-2.0
"""Only names of TensorRT that 10.3 and 11.4 both have; every graph of a bundle parses and builds without a GPU."""

from __future__ import annotations

import ast
import re
import sys
import types
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

import esam3_core
from esam3_core.deploy import capability
from esam3_core.deploy.build import check_bundle
from esam3_core.deploy.build_process import profile_of
from esam3_core.deploy.graph_file import read_graph
from esam3_core.deploy.precision import type_graph
from esam3_core.deploy.tensorrt_api import (
    BuildOptions,
    build_engine,
    find_tensorrt,
    version_numbers,
    workspace_remedy,
)
from esam3_core.runtime import EngineError
from esam3_core.runtime.bundle import SHIPPED, Bundle

CORE = Path(esam3_core.__file__).parent
CALLERS = [CORE / "deploy" / "tensorrt_api.py", CORE / "runtime" / "tensorrt_engine.py"]

# Found in the bindings of both tensorrt-cu12-bindings 10.3.0 and 11.4.0.106.
BOTH = {
    "Builder", "BuilderFlag", "ERROR", "ILogger", "INPUT", "INTERNAL_ERROR", "IProgressMonitor", "MemoryPoolType",
    "NetworkDefinitionCreationFlag", "OnnxParser", "Runtime", "STRONGLY_TYPED", "TF32", "TensorIOMode", "WARNING",
    "WORKSPACE", "__version__", "add_optimization_profile", "build_serialized_network", "builder_optimization_level",
    "clear_flag", "create_builder_config", "create_execution_context", "create_network",
    "create_optimization_profile", "create_timing_cache", "desc", "deserialize_cuda_engine", "dtype",
    "execute_async_v3", "get_error", "get_input", "get_tensor_dtype", "get_tensor_mode", "get_tensor_name",
    "get_tensor_profile_shape", "get_tensor_shape", "get_timing_cache", "name", "node_name", "node_operator",
    "num_errors", "num_inputs", "num_io_tensors", "nptype", "parse", "phase_finish", "phase_start", "progress_monitor",
    "serialize", "set_input_shape", "set_memory_pool_limit", "set_shape", "set_tensor_address", "set_timing_cache",
    "shape", "step_complete",
}  # fmt: skip
GONE_IN_11 = {
    "EXPLICIT_BATCH", "FP16", "INT8", "BF16", "FP8", "int8_calibrator", "platform_has_fast_fp16", "supports_model",
    "device_memory_size", "create_execution_context_without_device_memory", "set_output_type", "precision",
    "OBEY_PRECISION_CONSTRAINTS", "num_bindings", "execute_async_v2",
}  # fmt: skip


def tensorrt_names(path: Path) -> set[str]:
    """Attributes of what these files call TensorRT's objects."""
    objects = {"trt", "builder", "network", "parser", "config", "error", "chosen", "tensor", "cache", "runtime",
               "context", "ILogger", "IProgressMonitor", "BuilderFlag", "MemoryPoolType", "TensorIOMode",
               "NetworkDefinitionCreationFlag", "_context", "_engine"}  # fmt: skip
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
            if name in objects:
                found.add(node.attr)
    return found


@pytest.fixture(scope="module")
def checker() -> object:
    """TensorRT-RTX."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is for Linux on x86-64: pip install '.[check]'")
    return find_tensorrt("check")


@pytest.mark.parametrize("path", [path for path in CALLERS if path.is_file()], ids=lambda path: path.name)
def test_every_name_is_in_the_oldest_and_the_newest_tensorrt(path: Path) -> None:
    used = tensorrt_names(path) - {"device"}
    assert len(used) > 5
    assert used <= BOTH | {"__init__"}, f"not in every TensorRT: {sorted(used - BOTH)}"
    assert not used & GONE_IN_11


def test_the_other_files_do_not_call_tensorrt() -> None:
    for path in set(CORE.rglob("*.py")) - set(CALLERS):
        assert not re.search(r"^\s*(import|from) tensorrt", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_every_graph_of_the_shipped_bundle_builds(checker: object) -> None:
    rows = check_bundle(Bundle.load("tabletop"), "fp16", lambda _: None)
    assert {row.graph for row in rows} >= {"image_encoder", "text_encoder", "detector"}
    assert [row.problem for row in rows] == [""] * len(rows)
    assert [row.unsupported for row in rows] == [""] * len(rows)
    assert all(row.megabytes > 0 for row in rows)


def test_what_tensorrt_refuses_in_bfloat16_stays_single(checker: object) -> None:
    node = helper.make_node("HardSwish", ["x"], ["y"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph([node], "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for precision in ("fp32", "fp16", "bf16"):
        typed = type_graph(model, "g", precision).model
        assert build_engine(checker, typed.SerializeToString(), {}, BuildOptions(level=0))  # type: ignore[arg-type]


def test_an_operator_that_tensorrt_lacks_is_named(checker: object) -> None:
    node = helper.make_node("NonZero", ["x"], ["y"], name="where_is_it")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [1, "n"])
    graph = helper.make_graph([node], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(EngineError, match=r"cannot parse it: where_is_it"):
        build_engine(checker, model.SerializeToString(), {}, BuildOptions(level=0))  # type: ignore[arg-type]
    pytest.importorskip("polygraphy", reason="it is for the check without a GPU: pip install '.[check]'")
    table = capability.report_capability(model).splitlines()
    assert "Operator" in table[0] and "Reason" in table[0]
    assert "NonZero" in table[-1] and "where_is_it" in table[-1]


def test_polygraphy_that_gives_no_report_is_an_error_and_not_a_good_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "PROGRAM", "raise SystemExit('no room')")
    with pytest.raises(EngineError, match="polygraphy gave no report, it said: no room"):
        capability.report_capability(ModelProto())


def test_a_dynamic_axis_without_a_range_is_named() -> None:
    model = read_graph(SHIPPED / "tabletop" / "text_encoder.onnx")
    assert profile_of(model) == {"tokens": [[1, 16], [1, 16], [8, 16]]}
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "people"
    with pytest.raises(EngineError, match="dynamic axis 'people': known ones are concepts, tracks"):
        profile_of(model)


def test_uint8_is_cast_before_anything_else() -> None:
    """TensorRT cannot transpose uint8."""
    nodes = read_graph(SHIPPED / "tabletop" / "image_encoder.onnx").graph.node
    assert [node.op_type for node in nodes if "image" in node.input] == ["Cast"]
    assert "Transpose" in [node.op_type for node in onnx.load(SHIPPED / "tabletop" / "image_encoder.onnx").graph.node]


def test_an_old_tensorrt_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.ModuleType("tensorrt")
    old.__version__ = "8.6.2.3"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(EngineError, match=r"TensorRT 8\.6\.2\.3 is too old, esam3 needs 10\.3.*JetPack 6\.1"):
        find_tensorrt("build")


def test_no_tensorrt_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(EngineError, match=r"JetPack 6\.1 and newer bring it.*without a GPU use --check"):
        find_tensorrt("build")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(EngineError, match=r"pip install '\.\[check\]'"):
        find_tensorrt("check")


@pytest.mark.parametrize(
    ("version", "numbers"), [("10.3.0", (10, 3, 0)), ("10.7.0.post1", (10, 7, 0)), ("11.4.0.106", (11, 4, 0, 106))]
)
def test_versions_compare_as_numbers(version: str, numbers: tuple[int, ...]) -> None:
    assert version_numbers(version) == numbers


def test_a_layer_that_wants_more_memory_than_it_may_borrow_says_how_to_lend_it():
    # What TensorRT-RTX 1.7.1 says of the detector of an official student with 1 GiB.
    said = "[localCheckMacros.cpp::getErrorStr::132] Error Code 2: OutOfMemory (Requested size was 1143283868 bytes.)"
    assert workspace_remedy(said, 1 << 30).endswith("may borrow 1024, so add --workspace 1091 or more")
    assert workspace_remedy(said, 2 << 30) == ""  # the board itself has no more
    assert workspace_remedy("Error Code 9: no kernel", 1 << 30) == ""
