# SPDX-License-Identifier: Apache-2.0
"""Stage 1: features, prompts, concepts and text of a teacher, with and without a cache of its answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from esam3_core.config import TextConfig
from esam3_core.config_fit import TeacherConfig
from esam3_core.config_stage1 import CacheConfig, Stage1Config
from esam3_core.distill.cache import fill_here
from esam3_core.distill.features import Adapters, feature_loss, token_losses
from esam3_core.distill.fit import Fit
from esam3_core.distill.run_log import TIMES
from esam3_core.distill.stage1 import Stage1
from esam3_core.distill.stage1_batches import FeatureBatch
from esam3_core.distill.stage1_loop import concept_loss, first_prompts, mask_loss, prompt_loss, refine
from esam3_core.distill.teacher import TeacherError, open_teacher
from esam3_core.nn.text import load_text_encoder
from tests.conftest import TINY_TEXT


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture()
def stage(tiny_stage1: Stage1Config) -> Stage1:
    return Stage1(tiny_stage1)


@pytest.fixture()
def batch(stage: Stage1) -> FeatureBatch:
    return stage.batches(0).batch(0)


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class TestFeatures:
    def test_the_same_features_cost_nothing(self) -> None:
        maps, everywhere = torch.randn(2, 8, 4, 4), torch.ones(2, 1, 16, 16)
        error, turned = feature_loss(maps, maps, everywhere)
        assert error == 0 and turned == pytest.approx(0, abs=1e-6)

    def test_the_error_is_a_share_of_the_teachers_power(self) -> None:
        maps, everywhere = torch.randn(2, 8, 4, 4), torch.ones(2, 1, 4, 4)
        for scale in (0.1, 100.0):
            error, turned = feature_loss(torch.zeros_like(maps), scale * maps, everywhere)
            assert error == pytest.approx(1.0, rel=1e-4) and turned == pytest.approx(1.0)

    def test_padding_is_not_learnt(self) -> None:
        """What lies right of the picture's edge changes nothing, however wrong it is."""
        ours, theirs = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
        valid = torch.ones(1, 1, 16, 16)
        valid[..., 8:] = 0
        before = feature_loss(ours, theirs, valid)
        ours[..., 2:] += 100.0
        assert feature_loss(ours, theirs, valid) == before

    def test_padding_of_phrases_is_not_learnt(self) -> None:
        ours, theirs = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
        pad = torch.arange(5).expand(2, -1) >= 3
        before = token_losses(ours, theirs, pad)
        ours[:, 3:] += 100.0
        assert token_losses(ours, theirs, pad) == before

    def test_adapters_bring_every_level_to_the_teachers_grid(self, stage: Stage1, batch: FeatureBatch) -> None:
        teacher = stage.teacher
        found = Adapters(32, teacher, ("p16", "p8", "p4"))(stage.student.image_encoder(batch.frames[:, :32, :32]))
        for name, values in found.items():
            assert values.shape == (2, teacher.channels[name], teacher.sides[name], teacher.sides[name])


class TestPrompts:
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5]]).expand(40, -1)

    def masks(self) -> torch.Tensor:
        masks = torch.zeros(40, 16, 16)
        masks[:, 4:12, 4:12] = 1
        return masks

    def test_a_prompt_is_a_box_or_a_point_of_the_mask(self) -> None:
        points, labels = first_prompts(self.boxes, self.masks(), 2, chance())
        assert points.shape == (40, 4, 2)
        kinds = {tuple(row) for row in labels.tolist()}
        assert kinds == {(2, 3, -1, -1), (1, -1, -1, -1)}
        shown = points[labels == 1]
        assert ((shown > 0.25) & (shown < 0.75)).all()
        assert torch.allclose(points[labels == 2], torch.tensor(0.25))

    def test_an_empty_mask_is_asked_for_by_its_box(self) -> None:
        assert set(first_prompts(self.boxes, torch.zeros(40, 16, 16), 0, chance())[1].flatten().tolist()) == {2, 3}

    def test_refining_points_go_where_the_two_disagree(self) -> None:
        masks = self.masks()
        logits = torch.where(masks > 0.5, 5.0, -5.0)
        logits[:20, 4:12, 8:12] = -5.0  # a part is missing
        logits[20:, 0:2, 0:2] = 5.0  # something is too much
        points, labels = refine(*first_prompts(self.boxes, masks, 1, chance()), logits, masks, chance())
        last = (labels != -1).sum(1) - 1
        added, kind = points[torch.arange(40), last], labels[torch.arange(40), last]
        assert (kind[:20] == 1).all() and (kind[20:] == 0).all()
        assert (added[:20, 0] > 0.5).all() and (added[20:] < 2 / 16).all()
        assert ((labels == -1).long().diff(dim=1) >= 0).all()  # padding stays last

    def test_no_point_is_added_where_they_agree(self) -> None:
        masks = self.masks()
        prompts = first_prompts(self.boxes, masks, 1, chance())
        refined = refine(*prompts, torch.where(masks > 0.5, 5.0, -5.0), masks, chance())
        assert torch.equal(refined[0], prompts[0]) and torch.equal(refined[1], prompts[1])

    def test_empty_masks_teach_nothing(self) -> None:
        masks = self.masks()
        masks[10:] = 0
        logits = torch.randn(40, 16, 16)
        assert mask_loss(logits, masks) == pytest.approx(float(mask_loss(logits[:10], masks[:10])))
        assert mask_loss(logits, torch.zeros_like(masks)) == 0

    def test_the_teachers_own_features_cost_least(self, tiny_sam3: Path, batch: FeatureBatch) -> None:
        teacher = open_teacher(TeacherConfig("sam3", str(tiny_sam3)))
        theirs = teacher.features(batch.frames)
        frame, boxes = batch.prompt_frame, batch.boxes
        points, labels = first_prompts(boxes, torch.zeros(len(boxes), 1, 1), 0, chance())
        masks = teacher.prompted(theirs, frame, points, labels).masks.sigmoid()
        other = {name: values.flip(-1) for name, values in theirs.items()}
        cost = [float(prompt_loss(teacher, x, frame, boxes, masks, 2, chance())) for x in (theirs, other)]
        assert cost[0] < cost[1]
        told = teacher.concepts(theirs, frame, ["cup"] * len(frame), 1)
        seen = teacher.concepts(other, frame, ["cup"] * len(frame), 1)
        assert concept_loss(told, told) < concept_loss(seen, told)


class TestTraining:
    def test_gradients_reach_the_encoder_and_the_adapters_and_nothing_else(
        self, stage: Stage1, batch: FeatureBatch
    ) -> None:
        groups = stage.parameters()
        stage.train_mode(0)
        stage.loss(batch)[0].backward()
        trained = {id(p) for group in groups for p in group["params"]}  # type: ignore[attr-defined]
        for name, parameter in [*stage.student.named_parameters(), *stage.helpers.named_parameters()]:
            learns = name.startswith(("image_encoder.", "adapters."))
            assert (id(parameter) in trained) == learns, name
            assert (parameter.grad is not None and bool(torch.isfinite(parameter.grad).all())) == learns, name

    def test_every_term_counts_by_its_weight(self, tiny_stage1: Stage1Config, batch: FeatureBatch) -> None:
        zero = dict.fromkeys(("mse_weight", "cosine_weight", "prompt_weight", "concept_weight"), 0.0)
        totals = {}
        for name in zero:
            config = dataclasses.replace(tiny_stage1, **{**zero, name: 2.0})
            total, terms = Stage1(config).loss(batch)
            totals[name] = float(total.detach())
            assert totals[name] == pytest.approx(2 * terms[name.removesuffix("_weight")], rel=1e-5), name
        assert min(totals.values()) > 0

    def test_steps_lower_the_loss_of_what_they_see(self, tiny_stage1: Stage1Config, tmp_path: Path) -> None:
        fit = Fit(dataclasses.replace(tiny_stage1, rate=2e-3), tmp_path / "run", Stage1(tiny_stage1))
        batch = fit.stage.batches(0).batch(0)
        losses = [fit.train_step(batch)["total"] for _ in range(12)]
        assert max(losses[-3:]) < 0.9 * losses[0]

    def test_pictures_without_instances_are_learnt_too(self, stage: Stage1, batch: FeatureBatch) -> None:
        empty = dataclasses.replace(
            batch, prompt_frame=batch.prompt_frame[:0], boxes=batch.boxes[:0], concept_frame=batch.concept_frame[:0],
            concepts=[],
        )  # fmt: skip
        total, terms = stage.loss(empty)
        total.backward()
        assert terms["prompt"] == terms["concept"] == 0 and terms["mse"] > 0

    def test_the_same_number_gives_the_same_batch(self, stage: Stage1, tiny_stage1: Stage1Config) -> None:
        one, other = stage.batches(0), Stage1(tiny_stage1).batches(100)
        one.batch(7)
        assert_equal(one.batch(3), other.batch(3))
        assert not torch.equal(one.batch(3).frames, one.batch(4).frames)

    def test_an_interrupted_run_ends_as_if_nothing_had_happened(
        self, tiny_stage1: Stage1Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = dataclasses.replace(tiny_stage1, steps=4)
        Fit(config, tmp_path / "whole", Stage1(config)).run()
        config = dataclasses.replace(config, checkpoint_every=0.0)
        stage = Stage1(config)
        learn = stage.loss

        def stop_at_the_third(batch: FeatureBatch) -> Any:
            if batch.number == 2:
                raise KeyboardInterrupt
            return learn(batch)

        monkeypatch.setattr(stage, "loss", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            Fit(config, tmp_path / "stopped", stage).run()
        again = Fit(config, tmp_path / "stopped", Stage1(config))
        assert again.step == 2
        again.run()
        assert read_log(tmp_path / "stopped") == read_log(tmp_path / "whole")
        one, other = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in ("whole", "stopped"))
        for part in ("average", "helpers"):
            assert one[part] and all(torch.equal(value, other[part][name]) for name, value in one[part].items())


def read_log(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def assert_equal(one: FeatureBatch, other: FeatureBatch) -> None:
    for field in dataclasses.fields(FeatureBatch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


class TestCache:
    @pytest.fixture()
    def cached(self, tiny_stage1: Stage1Config, tmp_path: Path) -> Stage1Config:
        cache = CacheConfig(folder=str(tmp_path / "cache"), precision="fp16", prompts=2)
        return dataclasses.replace(tiny_stage1, cache=cache)

    def test_a_cache_teaches_what_the_teacher_would(self, cached: Stage1Config, stage: Stage1) -> None:
        fill_here(cached, 1)
        told = Stage1(cached)
        ours, theirs = told.batches(0).batch(0), stage.batches(0).batch(0)
        assert set(ours.levels) == {"p16", "p8", "p4"} and ours.masks is not None and not theirs.levels
        assert torch.equal(ours.frames, theirs.frames)
        exact = stage.teacher.features(ours.frames)
        assert all(torch.allclose(ours.levels[name], exact[name], atol=2e-3, rtol=2e-3) for name in exact)
        told.loss(ours)[0].backward()
        for name in ("mse", "cosine", "concept"):
            assert told.loss(ours)[1][name] == pytest.approx(stage.loss(theirs)[1][name], rel=0.02), name

    def test_only_what_is_kept_is_asked_for(self, cached: Stage1Config) -> None:
        few = dataclasses.replace(cached, prompts=5, cache=dataclasses.replace(cached.cache, prompts=1))
        fill_here(few, 1)
        batch = Stage1(few).batches(0).batch(0)
        assert batch.prompt_frame.tolist() == [0, 1] and batch.masks is not None and len(batch.masks) == 2

    def test_concepts_need_the_levels_that_the_heads_read(self, cached: Stage1Config) -> None:
        few = dataclasses.replace(cached, cache=dataclasses.replace(cached.cache, levels=("p16",)))
        with pytest.raises(TeacherError, match=r"need the teacher's p8, p4: add them to cache.levels"):
            Stage1(few)
        alone = dataclasses.replace(few, concept_weight=0.0, prompt_weight=0.0)
        fill_here(alone, 1)
        assert set(Stage1(alone).batches(0).batch(0).levels) == {"p16"}


class TestText:
    text = TextConfig(kind="clip", vocab_size=49408, context=32, width=16, layers=1, heads=2, ffn=16)

    @pytest.fixture()
    def config(self, tiny_stage1: Stage1Config, tiny_sam3: Path) -> Stage1Config:
        return dataclasses.replace(
            tiny_stage1,
            student=dataclasses.replace(tiny_stage1.student, text=self.text),
            teacher=TeacherConfig("sam3", str(tiny_sam3)),
            text="",
            texts=4,
            prompt_weight=0.0,
            concept_weight=0.0,
            mse_weight=0.0,
            cosine_weight=0.0,
            text_weight=1.0,
            rate=5e-3,
            steps=10,
        )

    def test_a_text_encoder_learns_the_teachers_tokens_and_is_kept(self, config: Stage1Config, tmp_path: Path) -> None:
        (tmp_path / "phrases.txt").write_text("red cup\n\nblue box\n")
        config = dataclasses.replace(config, phrases=str(tmp_path / "phrases.txt"))
        stage = Stage1(config)
        assert set(stage.batches(0).batch(0).texts) == {"red cup", "blue box"}
        Fit(config, tmp_path / "run", stage).run()
        log = read_log(tmp_path / "run")
        assert log[-1]["text_mse"] < 0.9 * log[0]["text_mse"]
        kept = load_text_encoder(tmp_path / "run" / "text", self.text, config.student.width)
        ours = stage.student.text_encoder.state_dict()
        assert all(torch.equal(v, ours[k]) for k, v in kept.state_dict().items() if not k.startswith("project."))
        assert (tmp_path / "run" / "text" / "tokenizer.json").is_file()

    def test_tokens_of_another_tokenizer_cannot_be_learnt(self, config: Stage1Config, tiny_text: Path) -> None:
        sentence = dataclasses.replace(config.student, text=TINY_TEXT)
        with pytest.raises(TeacherError, match=r"cut phrases into other pieces: use text.kind clip, or text_weight 0"):
            Stage1(dataclasses.replace(config, student=sentence, text=str(tiny_text)))

    def test_a_file_without_phrases_is_refused(self, config: Stage1Config, tmp_path: Path) -> None:
        (tmp_path / "none.txt").write_text("\n")
        with pytest.raises(FileNotFoundError, match="write one per line"):
            Stage1(dataclasses.replace(config, phrases=str(tmp_path / "none.txt"))).batches(0)


def test_what_the_teacher_cannot_do_is_refused(tiny_stage1: Stage1Config, tiny_bundle: Path) -> None:
    config = dataclasses.replace(tiny_stage1, teacher=TeacherConfig("student", str(tiny_bundle)))
    with pytest.raises(TeacherError, match="has no prompt heads: set prompt_weight to 0, or choose another teacher"):
        Stage1(config)
