# SPDX-License-Identifier: Apache-2.0
"""`esam3 bench --ros`: the same frames through camera, topics and tracker node, measured by a subscriber."""

from __future__ import annotations

from pathlib import Path

import pytest

from esam3_core.config import RuntimeConfig
from esam3_core.deploy.bench_ros import as_markdown, measure_ros
from esam3_core.deploy.gates import Clip
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.errors import Esam3Error
from tests.colour_bundle import write_colour_bundle
from tests.deploy.drawn import write_clip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return Bundle.load(write_colour_bundle(tmp_path_factory.mktemp("bundles") / "colours"))


def test_a_clip_is_measured_through_the_nodes(bundle: Bundle, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip")
    found = measure_ros(bundle, clip, RuntimeConfig(device="cpu"), seconds=2.0, warm_up=2.0)
    assert found["frames_per_s"] > 0 and 0 < found["age_ms_p50"] <= found["age_ms_p95"]
    assert {"image_encoder", "detector"} <= set(found["stages_ms"])
    assert f"| camera at 30 Hz | {found['frames_per_s']} |" in as_markdown(found)


def test_a_node_that_cannot_start_is_said(bundle: Bundle) -> None:
    with pytest.raises(Esam3Error, match=r"the nodes could not be measured: .*`esam3 doctor` says"):
        measure_ros(bundle, Clip("/nowhere.mp4", ("red",)), RuntimeConfig(device="cpu"), 1.0, 1.0)
