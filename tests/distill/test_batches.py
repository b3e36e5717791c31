# SPDX-License-Identifier: Apache-2.0
"""Batches: what is in them, and that batch i depends on seed and i alone."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from esam3_core.config_fit import SourceConfig
from esam3_core.config_stage3 import DistillConfig
from esam3_core.data.sample import truth
from esam3_core.distill.asking import ask
from esam3_core.distill.batches import Batch, Batches, noun_cells
from esam3_core.distill.boxes import generalised_iou
from esam3_core.distill.stage3 import Stage3, open_source
from esam3_core.scenes.vocabulary import NOUNS
from tests.distill.teachers import MEMORY


@pytest.fixture(scope="module")
def stage(tiny_run: DistillConfig) -> Stage3:
    torch.set_num_threads(1)
    return Stage3(tiny_run)


@pytest.fixture(scope="module")
def batches(stage: Stage3) -> Batches:
    return stage.batches(0)


def assert_equal(one: Batch, other: Batch) -> None:
    for field in dataclasses.fields(Batch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "texts":
            assert a == b
        elif isinstance(a, list):
            assert len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))
        else:
            assert torch.equal(a, b), field.name


def test_a_batch_has_the_promised_shapes(batches: Batches, tiny_run: DistillConfig) -> None:
    batch = batches.batch(0)
    pairs = len(batch.texts)
    assert batch.frames.shape == (2, 64, 64, 3) and batch.frames.dtype == torch.uint8
    assert batch.tokens.shape == (pairs, tiny_run.student.text.context)
    assert batch.pair_frame.shape == (pairs,) and set(batch.pair_frame.tolist()) == {0, 1}
    assert len(batch.boxes) == len(batch.masks) == pairs
    for boxes, masks in zip(batch.boxes, batch.masks, strict=True):
        assert boxes.shape[1:] == (4,) and masks.shape[1:] == (16, 16)
        assert len(boxes) == len(masks)
    assert batch.ignored.shape == (2, 16, 16)
    assert batch.noun_target.shape == (2, len(NOUNS), 4, 4)
    assert batch.noun_known.shape == (2, len(NOUNS))


def test_a_student_can_learn_at_two_sizes_in_turn(tiny_run: DistillConfig) -> None:
    both = Stage3(dataclasses.replace(tiny_run, large_size=96))
    batches = both.batches(0)
    assert [batches.batch(step).frames.shape[1] for step in range(4)] == [64, 96, 64, 96]
    both.train_mode(0)
    for step in range(2):
        loss, terms = both.loss(batches.batch(step))
        assert torch.isfinite(loss) and terms["dense"] > 0
    with pytest.raises(ValueError, match="large_size is 100"):
        dataclasses.replace(tiny_run, large_size=100)


def test_the_same_number_gives_the_same_batch(batches: Batches, stage: Stage3) -> None:
    batches.batch(7)
    assert_equal(batches.batch(3), stage.batches(100).batch(3))


def test_other_numbers_and_seeds_give_other_batches(batches: Batches, tiny_run: DistillConfig) -> None:
    other = Stage3(dataclasses.replace(tiny_run, seed=1)).batches(0)
    assert not torch.equal(batches.batch(0).frames, batches.batch(1).frames)
    assert not torch.equal(batches.batch(0).frames, other.batch(0).frames)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_batches_come_in_order_from_any_number_of_workers(stage: Stage3, batches: Batches, workers: int) -> None:
    loader = DataLoader(stage.batches(5), batch_size=None, num_workers=workers)
    for number, batch in enumerate(itertools.islice(loader, 4), start=5):
        assert_equal(batch, batches.batch(number))


def test_boxes_and_masks_of_a_pair_belong_together(batches: Batches) -> None:
    seen = 0
    for number in range(10):
        batch = batches.batch(number)
        for boxes, masks in zip(batch.boxes, batch.masks, strict=True):
            for box, mask in zip(boxes, masks, strict=True):
                rows, columns = torch.nonzero(mask > 0, as_tuple=True)
                centre = torch.tensor([columns.float().mean() + 0.5, rows.float().mean() + 0.5]) / 16
                assert (centre - box[:2]).abs().max() < 0.1
                seen += 1
    assert seen > 20


def test_noun_cells_say_where_and_whether_it_is_known(batches: Batches) -> None:
    from esam3_core.data.augment import view

    for source, everything in zip(batches.sources, (True, False), strict=True):
        seen = view(source[0], 64, None)
        target, known = noun_cells(seen)
        for index, noun in enumerate(NOUNS):
            answer = truth(seen.sample, noun)
            assert known[index] == (answer is not None)
            assert (target[index].max() > 0) == bool(answer)
        assert bool(known.all()) == everything
        assert target.max() == 1  # of the smallest thing too


def test_nouns_are_put_in_other_words_now_and_then(batches: Batches) -> None:
    """The alignment must know "a cup" and "cups" too; what each means stays in its place."""
    plain = [batches.tokenizer.encode(noun).ids for noun in NOUNS]
    seen = [batches.batch(step).noun_tokens.tolist() for step in range(4)]
    same = np.mean([row == other for rows in seen for row, other in zip(rows, plain, strict=True)])
    assert 0.5 < same < 0.9 and seen[0] != seen[1]


def test_only_sources_that_say_so_give_cut_outs(batches: Batches, tiny_run: DistillConfig) -> None:
    assert [{phrase for cut in kind for phrase in cut.label.phrases} for kind in batches.cuts] in (
        [{"ball"}, {"box"}], [{"box"}, {"ball"}],
    )  # fmt: skip
    assert all(not cut.label.attributed for kind in batches.cuts for cut in kind)
    sources = tuple(dataclasses.replace(source, cut_outs=False) for source in tiny_run.sources)
    assert not Stage3(dataclasses.replace(tiny_run, sources=sources)).batches(0).cuts


def test_weights_decide_how_often_a_source_is_drawn(tiny_run: DistillConfig) -> None:
    sources = tuple(
        dataclasses.replace(source, weight=weight, cut_outs=False)
        for source, weight in zip(tiny_run.sources, (1.0, 0.0), strict=True)
    )
    only_scenes = Stage3(dataclasses.replace(tiny_run, sources=sources)).batches(0)
    # Real pictures answer for two nouns, scenes for all but those a crop has hidden.
    assert all(bool((only_scenes.batch(i).noun_known.mean(1) > 0.5).all()) for i in range(5))


def test_an_unknown_kind_of_source_is_refused() -> None:
    with pytest.raises(ValueError, match="use scenes, real"):
        open_source(SourceConfig("somewhere", "film"))


def test_tokens_of_a_pair_are_those_of_its_text(batches: Batches) -> None:
    batch = batches.batch(0)
    for text, tokens in zip(batch.texts, batch.tokens, strict=True):
        assert np.array_equal(tokens.numpy(), batches.tokenizer.encode(text).ids)


@pytest.fixture(scope="module")
def showing(tiny_run: DistillConfig) -> Stage3:
    """The same run, with exemplars for every true prompt."""
    torch.set_num_threads(1)
    student = dataclasses.replace(tiny_run.student, memory=MEMORY)
    return Stage3(dataclasses.replace(tiny_run, student=student, shown_share=1.0))


def test_nothing_is_shown_by_default(batches: Batches) -> None:
    batch = batches.batch(0)
    assert batch.named.all()
    assert batch.examples.shape == (len(batch.texts), 0, 4)


def test_exemplars_are_instances_of_the_picture(showing: Stage3) -> None:
    positives = negatives = unnamed = 0
    for number in range(12):
        batch = showing.batches(0).batch(number)
        assert batch.examples.shape[1:] == (MEMORY.exemplars, 4)
        for row, boxes in enumerate(batch.boxes):
            labels = batch.example_labels[row]
            assert batch.named[row] or (labels >= 0).any()
            unnamed += int(not batch.named[row])
            if batch.example_frame[row] != batch.pair_frame[row]:
                continue
            for box, label in zip(batch.examples[row], labels, strict=True):
                if label < 0:
                    continue
                near = float(generalised_iou(box[None], boxes).max())
                positives, negatives = positives + int(label == 1), negatives + int(label == 0)
                assert near > 0.4 if label == 1 else near < 0.4
    assert min(positives, negatives, unnamed) > 0


def test_exemplars_of_another_picture_show_what_is_there_and_what_is_not(showing: Stage3) -> None:
    there = absent = 0
    many = Stage3(dataclasses.replace(showing.config, pictures=8, shown_share=0.5)).batches(0)
    for batch in map(many.batch, range(16)):
        for row in torch.nonzero(batch.example_frame != batch.pair_frame)[:, 0].tolist():
            assert batch.example_labels[row].tolist() == [1] + [-1] * (MEMORY.exemplars - 1)
            there, absent = there + int(len(batch.boxes[row]) > 0), absent + int(len(batch.boxes[row]) == 0)
    assert there > 0 and absent > 0


def test_a_step_with_exemplars_trains_their_encoder_but_not_the_memory(showing: Stage3) -> None:
    showing.parameters()
    showing.train_mode(0)
    total, _ = showing.loss(showing.batches(0).batch(0))
    total.backward()
    student = showing.student
    assert student.exemplar_encoder is not None and student.memory is not None
    assert all(p.grad is not None for p in student.exemplar_encoder.parameters())
    assert all(p.grad is None for p in student.memory.parameters())


def test_what_is_not_named_does_not_depend_on_its_words(showing: Stage3) -> None:
    student = showing.student.eval()
    batch = next(b for b in map(showing.batches(0).batch, itertools.count()) if not b.named.all())
    with torch.no_grad():
        p16 = student.image_encoder(batch.frames).p16
        before, pad = ask(student, p16, batch)
        after, _ = ask(student, p16, dataclasses.replace(batch, tokens=batch.tokens.roll(1, 0)))
    assert torch.equal(before[~batch.named], after[~batch.named])
    assert not torch.equal(before[batch.named], after[batch.named])
    assert pad[~batch.named][:, : batch.tokens.shape[1]].all()
    assert not pad.all(1).any()


def test_exemplars_need_a_student_that_can_read_them(tiny_run: DistillConfig) -> None:
    with pytest.raises(ValueError, match="shown_share"):
        Stage3(dataclasses.replace(tiny_run, shown_share=0.5))


def test_a_frozen_encoder_changes_nothing_of_itself(tiny_run: DistillConfig) -> None:
    stage = Stage3(dataclasses.replace(tiny_run, encoder_frozen=True))
    trained = {id(p) for group in stage.parameters() for p in group["params"]}  # type: ignore[attr-defined]
    before = {name: value.clone() for name, value in stage.student.image_encoder.state_dict().items()}
    stage.train_mode(0)
    assert not stage.student.image_encoder.training
    total, _ = stage.loss(stage.batches(0).batch(0))
    total.backward()
    assert not trained & {id(p) for p in stage.student.image_encoder.parameters()}
    assert all(p.grad is None for p in stage.student.image_encoder.parameters())
    assert all(torch.equal(v, before[n]) for n, v in stage.student.image_encoder.state_dict().items())
    assert any(p.grad is not None for p in stage.student.detector.parameters())


def test_a_batch_in_which_no_prompt_finds_anything_trains_all_the_same(tiny_run: DistillConfig) -> None:
    stage = Stage3(tiny_run)
    stage.parameters()
    batch = stage.batches(0).batch(0)
    nothing = {name: [rows[:0] for rows in getattr(batch, name)] for name in ("boxes", "masks")}
    stage.train_mode(0)
    total, terms = stage.loss(dataclasses.replace(batch, **nothing))
    total.backward()
    assert torch.isfinite(total) and terms["mask"] == terms["dice"] == 0
    pixels = stage.student.detector.pixels
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in pixels.parameters())
