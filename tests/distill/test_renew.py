# SPDX-License-Identifier: Apache-2.0
"""A bundle is written again with another memory or other settings; what it finds, and how, stays as it is."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from esam3_core.cli import main
from esam3_core.config import StudentConfig
from esam3_core.config_stage2 import ClipSourceConfig, Stage2Config
from esam3_core.config_stage3 import DistillConfig
from esam3_core.deploy.export import export_bundle, is_bundle
from esam3_core.deploy.weights import graph_weights
from esam3_core.distill.fit import Fit
from esam3_core.distill.renew import renew
from esam3_core.distill.stage2 import Stage2
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import Bundle
from tests.distill.teachers import MEMORY
from tests.drawn_data import scatter, write_real_folder


@pytest.fixture(scope="module")
def bundle(tiny_config: StudentConfig, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with memory that lies nowhere else than in its graphs."""
    torch.manual_seed(3)
    # With two global latents, which begin as means, some weights would have no use, and no graph would hold them.
    memory = dataclasses.replace(MEMORY, latents_global=3)
    student = Student(dataclasses.replace(tiny_config, memory=memory)).eval()
    folder = tmp_path_factory.mktemp("bundles") / "kept"
    told = {"calibration": {"query": 1.5}, "memory": {"steps": 7}}
    return export_bundle(student, tiny_text / "tokenizer.json", folder, "kept", ["cup", "mug"], provenance=told)


@pytest.fixture()
def memory_run(bundle: Path, tmp_path: Path) -> Path:
    """Two more steps of the bundle's own memory."""
    torch.set_num_threads(1)
    write_real_folder(tmp_path / "real", [scatter(seed) for seed in range(10, 16)])
    config = Stage2Config(
        student=Bundle.load(bundle).student, start=str(bundle), memory_start=str(bundle),
        sources=(ClipSourceConfig(str(tmp_path / "real"), "stills", clips=4, frames=4),),
        cache=str(tmp_path / "cache"), size=64, tracks=2, objects=2, frames=3, frames_last=4,
        steps=2, warmup=1, decay=1,
    )  # fmt: skip
    stage = Stage2(config)
    for graph in ("propagator", "memorizer"):
        own = stage.student.state_dict()
        assert all(torch.equal(own[name], value) for name, value in graph_weights(bundle, graph).items())
    Fit(config, tmp_path / "run", stage).run()
    return tmp_path / "run"


def test_a_memory_that_learnt_on_changes_the_memory_alone(bundle: Path, memory_run: Path, tmp_path: Path) -> None:
    renew(bundle, tmp_path / "again", "again", memory=memory_run)
    before, after = Bundle.load(bundle), Bundle.load(tmp_path / "again")
    changed = {graph for graph, digest in after.digests.items() if digest != before.digests[graph]}
    assert changed == {"propagator", "memorizer"}
    assert after.provenance["memory"]["steps"] == 2 and after.provenance["calibration"] == {"query": 1.5}


def test_a_bundle_may_be_replaced_by_its_own_successor(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "own")
    renew(tmp_path / "own", tmp_path / "own", "own", size=96)
    assert Bundle.load(tmp_path / "own").student.size == 96


def test_a_memory_of_another_encoder_is_refused_and_nothing_is_written(
    bundle: Path, memory_run: Path, tmp_path: Path
) -> None:
    stored = torch.load(memory_run / "last.pt", weights_only=True)
    key = next(name for name in stored["average"] if name.startswith("image_encoder.") and name.endswith("weight"))
    stored["average"][key] = stored["average"][key] + 1
    torch.save(stored, memory_run / "last.pt")
    with pytest.raises(ValueError, match="another image encoder"):
        renew(bundle, tmp_path / "again", "again", memory=memory_run)
    assert not (tmp_path / "again").exists()


def test_how_many_batches_an_encoder_saw_makes_it_no_other_one(
    bundle: Path, memory_run: Path, tmp_path: Path
) -> None:
    """A run counts them, a bundle does not."""
    stored = torch.load(memory_run / "last.pt", weights_only=True)
    counters = [name for name in stored["average"] if name.startswith("image_encoder.") and "num_batches" in name]
    assert counters
    stored["average"] |= {name: torch.tensor(70) for name in counters}
    torch.save(stored, memory_run / "last.pt")
    renew(bundle, tmp_path / "again", "again", memory=memory_run)
    assert is_bundle(tmp_path / "again")


def test_the_command_changes_settings_and_leaves_every_graph_as_it_is(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    assert main(["export", str(bundle), "--out", str(out), "--mask-threshold", "0.4", "--new-score", "0.7"]) == 0
    before, after = Bundle.load(bundle), Bundle.load(out)
    assert after.digest == before.digest and after.concepts == before.concepts
    assert after.detector == dataclasses.replace(before.detector, mask_threshold=0.4)
    assert after.tracker == dataclasses.replace(before.tracker, new_score=0.7)
    assert after.provenance == before.provenance


def test_the_command_takes_a_bundle_by_its_name_and_nouns_that_it_knows_beside(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ESAM3_BUNDLES", str(bundle.parent))
    named = ["--concept", "Coffee  Grinder", "--concept", "cup"]
    assert main(["export", bundle.name, "--out", str(tmp_path / "again"), *named]) == 0
    before, after = Bundle.load(bundle), Bundle.load(tmp_path / "again")
    assert after.digest == before.digest
    assert after.concepts == (*before.concepts, "coffee grinder")  # written as a search writes it


def test_the_command_calibrates_a_bundle_once_more(bundle: Path, tiny_run: DistillConfig, tmp_path: Path) -> None:
    (scenes,) = (source.path for source in tiny_run.sources if source.kind == "scenes")
    assert main(["export", str(bundle), "--out", str(tmp_path / "again"), "--calibrate", scenes]) == 0
    before, after = Bundle.load(bundle), Bundle.load(tmp_path / "again")
    told = after.provenance["recalibration"]
    assert after.provenance["calibration"] == before.provenance["calibration"]
    assert after.detector == dataclasses.replace(before.detector, falloff=told["falloff"])
    changed = {graph for graph, digest in after.digests.items() if digest != before.digests[graph]}
    assert changed <= {"detector"}
