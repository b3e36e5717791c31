# SPDX-License-Identifier: Apache-2.0
"""Engines: named arrays in, named arrays out; every parameter changes what it says."""

import numpy as np
import pytest

from esam3_core.config import RuntimeConfig
from esam3_core.runtime import EngineError
from esam3_core.runtime.engines import load_engine

FEATURES = ["p16", "p8", "p4"]


def load(colour_bundle, **values):
    return load_engine(colour_bundle / "image_encoder.onnx", RuntimeConfig(**values), ["image"], FEATURES)


def test_ports_are_named_and_shaped(colour_bundle):
    engine = load(colour_bundle)
    assert engine.inputs == {"image": (1, 256, 256, 3)}
    assert engine.outputs == {"p16": (1, 32, 16, 16), "p8": (1, 8, 32, 32), "p4": (1, 4, 64, 64)}


def test_outputs_are_arrays_unless_they_are_kept(colour_bundle):
    image = np.random.default_rng(0).integers(0, 255, (1, 256, 256, 3), np.uint8)
    arrays = load(colour_bundle).run({"image": image})
    handles = load(colour_bundle).run({"image": image}, keep=["p4"])
    assert isinstance(handles["p16"], np.ndarray) and not isinstance(handles["p4"], np.ndarray)
    assert (handles["p4"].numpy() == arrays["p4"]).all()


def test_handles_feed_another_engine(colour_bundle):
    image = np.full((1, 256, 256, 3), (220, 30, 30), np.uint8)
    handles = load(colour_bundle).run({"image": image}, keep=FEATURES)
    detector = load_engine(colour_bundle / "detector.onnx", RuntimeConfig(), [*FEATURES, "prompt"], ["presence"])
    prompt = np.zeros((1, 8, 32), np.float32)
    assert detector.run({**handles, "prompt": prompt, "prompt_pad": np.ones((1, 8), bool)})["presence"] == [-8]


def test_results_outlive_later_runs(colour_bundle):
    engine = load(colour_bundle)
    first = engine.run({"image": np.zeros((1, 256, 256, 3), np.uint8)})["p4"]
    for _ in range(5):
        engine.run({"image": np.full((1, 256, 256, 3), 255, np.uint8)})
    assert (first == 0).all()


def test_a_view_with_gaps_is_read_as_what_it_shows(colour_bundle):
    wide = np.random.default_rng(0).integers(0, 255, (1, 256, 512, 3), np.uint8)
    engine = load(colour_bundle)
    shown = engine.run({"image": wide[:, :, ::2]})["p8"]
    assert (shown == engine.run({"image": wide[:, :, ::2].copy()})["p8"]).all()


def test_threads_are_those_of_the_config(colour_bundle):
    options = load(colour_bundle, threads=3)._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        ({"backend": "tensorrt", "device": "cpu"}, "needs a GPU: use device=auto or cuda:0, or backend=onnxruntime"),
        ({"backend": "tensorrt", "device": "npu"}, "choose auto, cpu, cuda or cuda:0"),
        ({"backend": "tflite"}, "choose one of auto, onnxruntime, tensorrt"),
        ({"device": "npu"}, "choose auto, cpu, cuda or cuda:0"),
        ({"device": "cuda:x"}, "choose auto, cpu, cuda or cuda:0"),
    ],
)
def test_what_cannot_run_here_is_refused_with_a_remedy(colour_bundle, config, remedy):
    with pytest.raises(EngineError, match=remedy):
        load(colour_bundle, **config)


def test_cuda_without_its_provider_is_refused(colour_bundle):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(EngineError, match=r"needs onnxruntime-gpu.*use device=cpu"):
        load(colour_bundle, device="cuda:0")


@pytest.mark.parametrize(
    ("inputs", "outputs", "missing"),
    [(["picture"], [], "inputs picture"), (["image"], ["p16", "p2"], "outputs p2")],
)
def test_a_graph_that_lacks_a_port_is_refused(colour_bundle, inputs, outputs, missing):
    with pytest.raises(EngineError, match=rf"lacks the {missing} .*it has"):
        load_engine(colour_bundle / "image_encoder.onnx", RuntimeConfig(), inputs, outputs)


@pytest.mark.parametrize("values", [{"threads": -1}, {"max_concepts": 0}, {"text_cache": 0}, {"threads": True}])
def test_values_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match="must lie in"):
        RuntimeConfig(**values)
