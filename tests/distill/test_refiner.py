# SPDX-License-Identifier: Apache-2.0
"""The refiner learns from what bundles draw; exported with any student, it refines that one's masks."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import esam3_core
from esam3_core.cli import main
from esam3_core.config import RuntimeConfig, StudentConfig, to_dict
from esam3_core.config_fit import FitConfig
from esam3_core.config_refiner import MaskSourceConfig, RefinerConfig
from esam3_core.data.real import RealFolder
from esam3_core.deploy.export import export_bundle, prepare
from esam3_core.deploy.graphs import example_inputs, graphs_of
from esam3_core.deploy.weights import bundle_student
from esam3_core.distill.fit import Fit
from esam3_core.distill.refiner import RefinerStage, refiner_weights
from esam3_core.distill.refiner_batches import RefinerBatches, patched
from esam3_core.distill.refiner_masks import crop_of, drawn, rough_masks, to_byte, to_logits
from esam3_core.nn.student import Student
from esam3_core.runtime.bundle import Bundle
from esam3_core.runtime.engines import OnnxEngine
from esam3_core.runtime.masks import iou_matrix
from esam3_core.runtime.refiner import MOST, SIDE
from tests.colour_memory import write_memory_bundle
from tests.drawn_data import scatter, write_real_folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that draws every blob of a colour, and pictures of blobs."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("refiner")
    write_memory_bundle(home / "colours")
    write_real_folder(home / "real", [scatter(seed) for seed in range(10)], "colour")
    return home


@pytest.fixture(scope="module")
def config(home: Path) -> RefinerConfig:
    return RefinerConfig(
        bundles=(str(home / "colours"),), sources=(MaskSourceConfig(str(home / "real"), "real"),),
        cache=str(home / "cache"), crops=4, steps=3, warmup=1, decay=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(home: Path, config: RefinerConfig) -> Path:
    (home / "refiner.yaml").write_text(yaml.safe_dump(to_dict(config)))
    assert main(["distill", "refiner", str(home / "refiner.yaml"), "--out", str(home / "run"), "--threads", "1"]) == 0
    return home / "run"


def test_every_mask_lies_beside_the_one_it_should_be(home: Path) -> None:
    student = esam3_core.load(home / "colours")
    sample = RealFolder(home / "real", "train")[0]
    pairs = list(drawn(student, sample, 3, np.random.default_rng(0)))
    assert len(pairs) >= 3
    for mask, truth in pairs:
        iou = iou_matrix([mask], [truth])[0, 0]
        assert iou > 0.35
        row = crop_of(sample.image, mask, truth)
        assert row.shape == (SIDE, SIDE, 5) and row.dtype == np.uint8
        inside, there = to_logits(row[..., 3]) > 0, row[..., 4] > 127
        assert (inside & there).sum() / (inside | there).sum() == pytest.approx(iou, abs=0.1)


def test_logits_are_kept_in_small_steps() -> None:
    logits = np.linspace(-MOST, MOST, 1001, dtype=np.float32)
    kept = to_logits(to_byte(logits))
    assert np.abs(kept - logits).max() <= 1.001 * MOST / 255
    assert (np.sign(kept) == np.sign(logits))[logits != 0].mean() > 0.99


def test_what_is_drawn_is_drawn_once(home: Path, config: RefinerConfig) -> None:
    (source,) = config.sources
    first = rough_masks(esam3_core.load(home / "colours"), source, config)
    (kept,) = (home / "cache").glob("real-*.npy")
    stamp = kept.stat().st_mtime_ns
    again = rough_masks(esam3_core.load(home / "colours"), source, config)
    assert kept.stat().st_mtime_ns == stamp and len(first) == len(again) > 10
    rough_masks(esam3_core.load(home / "colours"), source, dataclasses.replace(config, prompts=0))
    assert len(list((home / "cache").glob("real-*.npy"))) == 2


def test_a_folder_in_which_nothing_is_drawn_is_refused(home: Path, config: RefinerConfig, tmp_path: Path) -> None:
    write_real_folder(tmp_path / "empty", [[] for _ in range(10)])
    with pytest.raises(ValueError, match=r"draws nothing in .*empty: is it the right folder"):
        rough_masks(esam3_core.load(home / "colours"), MaskSourceConfig(str(tmp_path / "empty"), "real"), config)


def test_a_batch_depends_on_its_number_alone(config: RefinerConfig) -> None:
    stage = RefinerStage(config)
    one, other = RefinerBatches(config, stage.masks), RefinerBatches(config, stage.masks)
    other.batch(0)
    assert all(torch.equal(a, b) for a, b in zip(*(vars(x.batch(7)).values() for x in (one, other)), strict=True))
    assert not torch.equal(one.batch(7).crops, one.batch(8).crops)


@given(seed=st.integers(0, 10_000))
def test_a_patch_lies_where_it_may_and_nowhere_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop, other = np.full((SIDE, SIDE, 3), 50, np.uint8), np.full((SIDE, SIDE, 3), 200, np.uint8)
    share = np.zeros((SIDE, SIDE), np.uint8)
    share[:, : SIDE // 2] = 255
    printed = patched(crop, other, share, rng)
    assert (printed[:, SIDE // 2 :] == 50).all() and 50 <= printed.min() <= printed.max() <= 200
    assert np.array_equal(patched(crop, other, np.zeros_like(share), rng), crop)


def test_patches_change_pictures_and_no_mask(config: RefinerConfig) -> None:
    masks = RefinerStage(config).masks
    bare = dataclasses.replace(config, printed=0.0, littered=0.0)
    patchy = dataclasses.replace(config, printed=1.0, littered=1.0)
    plain, changed = (RefinerBatches(one, masks).batch(3) for one in (bare, patchy))
    assert torch.equal(plain.truth[0], changed.truth[0]) and not torch.equal(plain.crops[0], changed.crops[0])


def test_every_weight_learns(config: RefinerConfig, tmp_path: Path) -> None:
    stage = RefinerStage(config)
    before = {name: value.clone() for name, value in stage.student.state_dict().items()}
    Fit(config, tmp_path / "run", stage).run()
    assert not [name for name, value in stage.student.state_dict().items() if value.equal(before[name])]


def test_what_takes_much_memory_is_not_for_a_refiner() -> None:
    with pytest.raises(ValueError, match=r"fit\.checkpointing is for what needs much memory"):
        RefinerConfig(fit=FitConfig(checkpointing=True))


def test_a_run_leaves_pictures_and_a_log(run: Path) -> None:
    assert (run / "samples.png").is_file() and (run / "curves.png").is_file()
    told = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"entropy", "overlap", "iou_before", "iou_after"} <= set(told[-1])


def test_a_refiner_goes_on_from_another(config: RefinerConfig, run: Path) -> None:
    weights = refiner_weights(run)
    stage = RefinerStage(dataclasses.replace(config, start=str(run)))
    assert all(torch.equal(stage.refiner.state_dict()[name], value) for name, value in weights.items())
    with pytest.raises(FileNotFoundError, match=r"no refiner in .*cache"):
        RefinerStage(dataclasses.replace(config, start=config.cache))


@pytest.mark.parametrize("lacking", [{"bundles": ()}, {"sources": ()}])
def test_a_run_without_bundles_or_pictures_is_refused(config: RefinerConfig, lacking: dict[str, tuple[()]]) -> None:
    with pytest.raises(ValueError, match="set bundles and sources"):
        RefinerStage(dataclasses.replace(config, **lacking))


class TestExport:
    @pytest.fixture(scope="class")
    def sharp(
        self, tiny_config: StudentConfig, tiny_text: Path, run: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Path:
        """A bundle that had no refiner, written again with that of the run."""
        folder = tmp_path_factory.mktemp("bundles")
        torch.manual_seed(3)
        student = Student(tiny_config).eval()
        export_bundle(student, tiny_text / "tokenizer.json", folder / "plain", "plain", ["cup"])
        arguments = ["export", str(folder / "plain"), "--refiner", str(run), "--out", str(folder / "sharp")]
        assert main(arguments) == 0
        return folder / "sharp"

    def test_a_bundle_gets_a_refiner_and_stays_as_it_is(self, sharp: Path) -> None:
        before, after = Bundle.load(sharp.parent / "plain"), Bundle.load(sharp)
        assert set(after.graphs) - set(before.graphs) == {"refiner"}
        assert all(after.digests[graph] == digest for graph, digest in before.digests.items())
        assert after.student.refiner and after.provenance["refiner"]["steps"] == 3
        assert os.path.getsize(after.graphs["refiner"]) < 1_100_000

    def test_the_graph_says_what_the_network_says(self, sharp: Path) -> None:
        bundle = Bundle.load(sharp)
        inputs = example_inputs("refiner", bundle.student, 3)
        module = graphs_of(bundle.student)["refiner"].build(prepare(bundle_student(bundle), half=False)).eval()
        with torch.no_grad():
            expected = module(**inputs).numpy()
        engine = OnnxEngine(bundle.graphs["refiner"], RuntimeConfig(device="cpu"))
        got = engine.run({name: value.numpy() for name, value in inputs.items()})["refined"]
        assert np.abs(got - expected).max() < 1e-3

    def test_a_bundle_gives_its_refiner_to_another(self, sharp: Path) -> None:
        out = sharp.parent / "third"
        assert main(["export", str(sharp.parent / "plain"), "--refiner", str(sharp), "--out", str(out)]) == 0
        assert Bundle.load(out).digests["refiner"] == Bundle.load(sharp).digests["refiner"]
        assert Bundle.load(out).provenance["refiner"] == Bundle.load(sharp).provenance["refiner"]

    def test_a_bundle_keeps_its_refiner(self, sharp: Path) -> None:
        out = sharp.parent / "again"
        assert main(["export", str(sharp), "--new-score", "0.7", "--out", str(out)]) == 0
        assert Bundle.load(out).digests["refiner"] == Bundle.load(sharp).digests["refiner"]

    def test_a_folder_without_a_refiner_is_refused(
        self, sharp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        plain = str(sharp.parent / "plain")
        assert main(["export", plain, "--refiner", plain, "--out", str(tmp_path / "bundle")]) != 0
        assert "no refiner in" in capsys.readouterr().err and not (tmp_path / "bundle").exists()

    def test_a_refiner_of_an_older_version_goes_nowhere_but_gives_way_to_another(
        self, sharp: Path, tiny_config: StudentConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        plain, older = sharp.parent / "plain", tmp_path / "older"
        with monkeypatch.context() as then:
            then.setattr("esam3_core.nn.refiner.WIDTHS", (8, 8, 8, 8))
            student = Student(dataclasses.replace(tiny_config, refiner=True)).eval()
            export_bundle(student, Bundle.load(plain).tokenizer, older, "older", ["cup"])
        assert main(["export", str(plain), "--refiner", str(older), "--out", str(tmp_path / "bundle")]) != 0
        assert "is of an older version: take that of a shipped bundle" in capsys.readouterr().err
        assert main(["export", str(older), "--new-score", "0.7", "--out", str(tmp_path / "bundle")]) != 0
        assert "if only the refiner does not fit" in capsys.readouterr().err
        assert main(["export", str(older), "--refiner", str(sharp), "--out", str(tmp_path / "bundle")]) == 0
        assert Bundle.load(tmp_path / "bundle").digests["refiner"] == Bundle.load(sharp).digests["refiner"]

    def test_a_run_of_the_refiner_is_no_student(
        self, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["export", str(run), "--out", str(tmp_path / "bundle")]) != 0
        assert "is a run of the refiner: export a run of stage 3" in capsys.readouterr().err
