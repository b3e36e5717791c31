# SPDX-License-Identifier: Apache-2.0
"""Memory modules: what a track remembers, and that only what it remembers changes what it sees."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from esam3_core.config import MemoryConfig, StudentConfig
from esam3_core.deploy.graphs_memory import memory_inputs
from esam3_core.nn.exemplar import ExemplarEncoder
from esam3_core.nn.memory import Memory, Remembered, Sighting
from esam3_core.nn.student import Student

SMALL = MemoryConfig(
    kind="perceiver", width=16, ring=3, anchors=1, pointers=3, latents_global=5, latents_2d=4, encoder_width=16,
    token_width=16, attention_width=16, ffn=32, head_ffn=32, head_heads=2,
)  # fmt: skip
TRACKS = 3  # the last one remembers nothing


def student_with(base: StudentConfig, **memory: object) -> StudentConfig:
    return dataclasses.replace(base, memory=dataclasses.replace(SMALL, **memory))  # type: ignore[arg-type]


def build(config: StudentConfig) -> Memory:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return Memory(config).eval()


def inputs_of(config: StudentConfig) -> dict[str, torch.Tensor]:
    inputs = memory_inputs("propagator", config, TRACKS, torch.Generator().manual_seed(0))
    return {**inputs, "pointer_used": inputs["pointer_used"] & inputs["memory_used"].any(1, keepdim=True)}


def look(memory: Memory, inputs: dict[str, torch.Tensor]) -> Sighting:
    held = Remembered(*(inputs[field.name] for field in dataclasses.fields(Remembered)))
    with torch.no_grad():
        return memory.propagate(
            inputs["p16"], inputs["p8"], inputs["p4"], held, inputs["points"], inputs["point_labels"]
        )


@pytest.mark.parametrize("kind", ["perceiver", "dense"])
def test_both_kinds_answer_the_same_calls(kind: str, tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config, kind=kind)
    memory = build(config)
    seen = look(memory, inputs_of(config))
    quarter = config.size // 4
    assert seen.masks.shape == (TRACKS, quarter, quarter)
    assert seen.iou.shape == seen.objectness.shape == (TRACKS,)
    assert seen.pointer.shape == (TRACKS, config.width)
    kept = memory.memorise(inputs_of(config)["p16"], seen.masks, seen.objectness, torch.zeros(TRACKS) > 0)
    assert kept.shape == (TRACKS, config.memory.tokens(config.size), config.memory.width)


def test_a_perceiver_remembers_far_fewer_tokens_than_a_dense_memory() -> None:
    assert MemoryConfig(kind="dense").tokens(320) >= 8 * MemoryConfig(kind="perceiver").tokens(320)


@pytest.mark.parametrize("kind", ["perceiver", "dense"])
def test_slots_and_pointers_that_are_not_used_change_nothing(kind: str, tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config, kind=kind)
    memory, inputs = build(config), inputs_of(config)
    before = look(memory, inputs)
    other = dict(inputs)
    other["memory"] = torch.where(inputs["memory_used"][..., None, None], inputs["memory"], torch.tensor(9.0))
    other["pointers"] = torch.where(inputs["pointer_used"][..., None], inputs["pointers"], torch.tensor(9.0))
    torch.testing.assert_close(look(memory, other).masks, before.masks)


def test_what_is_remembered_changes_what_is_seen(tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config)
    memory, inputs = build(config), inputs_of(config)
    before = look(memory, inputs).masks
    for name, change in (("memory", 1.0), ("pointers", 1.0)):
        after = look(memory, {**inputs, name: inputs[name] + change}).masks
        assert not torch.allclose(after[0], before[0], atol=1e-4), name
    older = {**inputs, "memory_age": (inputs["memory_age"] + 1) % (config.memory.ring + 1)}
    assert not torch.allclose(look(memory, older).masks[0], before[0], atol=1e-4)


def test_tracks_do_not_disturb_each_other(tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config)
    memory, inputs = build(config), inputs_of(config)
    together = look(memory, inputs)
    for track in range(TRACKS):
        shared = ("p16", "p8", "p4")
        alone = look(memory, {k: v if k in shared else v[track : track + 1] for k, v in inputs.items()})
        torch.testing.assert_close(alone.masks[0], together.masks[track], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(alone.pointer[0], together.pointer[track], atol=1e-4, rtol=1e-4)


def test_a_frame_per_track_equals_a_shared_frame(tiny_config: StudentConfig) -> None:
    """Training looks for one track in each of several frames, the robot for several tracks in one."""
    config = student_with(tiny_config)
    memory, inputs = build(config), inputs_of(config)
    rows = {k: v.expand(TRACKS, -1, -1, -1) if k in ("p16", "p8", "p4") else v for k, v in inputs.items()}
    torch.testing.assert_close(look(memory, rows).masks, look(memory, inputs).masks, atol=1e-4, rtol=1e-4)


def test_points_say_where_to_look(tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config)
    memory, inputs = build(config), inputs_of(config)
    moved = look(memory, {**inputs, "points": 1 - inputs["points"]}).masks
    before = look(memory, inputs).masks
    shown = (inputs["point_labels"] >= 0).any(1)
    assert not torch.allclose(moved[shown], before[shown], atol=1e-4)
    torch.testing.assert_close(moved[~shown], before[~shown])


def test_a_hidden_object_has_the_learned_pointer(tiny_config: StudentConfig) -> None:
    memory = build(student_with(tiny_config))
    tokens = torch.randn(2, SMALL.token_width)
    pointer = memory.point_to(tokens, torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(pointer[0], memory.no_pointer.detach())
    assert not torch.allclose(pointer[1], memory.no_pointer)


def test_a_prompted_mask_enters_hard_and_a_found_one_soft(tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config)
    memory = build(config)
    p16 = torch.randn(1, config.width, config.grid, config.grid)
    masks = torch.randn(1, config.size // 4, config.size // 4)
    visible = torch.ones(1)
    hard, soft = (memory.memorise(p16, masks, visible, torch.tensor([told])) for told in (True, False))
    assert not torch.allclose(hard, soft)
    torch.testing.assert_close(hard, memory.memorise(p16, masks.sign() * 50, visible, torch.tensor([False])))


@pytest.mark.parametrize("candidates", [0, 3])
def test_an_ambiguous_prompt_gets_the_best_candidate(candidates: int, tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config, candidates=candidates)
    memory, inputs = build(config), inputs_of(config)
    held = Remembered(*(inputs[field.name] for field in dataclasses.fields(Remembered)))
    features = (inputs["p16"], inputs["p8"], inputs["p4"])
    with torch.no_grad():
        drawn = memory.draw(*features, held, inputs["points"], inputs["point_labels"])
    seen = look(memory, inputs)
    assert drawn.masks.shape[1] == 1 + candidates
    expected = drawn.iou[:, 1:].amax(1) if candidates else drawn.iou[:, 0]
    one_point = (inputs["point_labels"] >= 0).sum(1) <= 1
    torch.testing.assert_close(seen.iou[one_point], expected[one_point])
    torch.testing.assert_close(seen.iou[~one_point], drawn.iou[~one_point, 0])


def test_every_weight_of_memory_learns(tiny_config: StudentConfig) -> None:
    config = student_with(tiny_config)
    memory, inputs = build(config).train(), inputs_of(config)
    memory.heads.masks.objectness.layers[-1].bias.data.fill_(9.0)  # only what is visible has a pointer of its own
    kept = memory.memorise(
        inputs["p16"], torch.randn(TRACKS, 16, 16), torch.tensor([1.0, -1.0, 1.0]), torch.zeros(TRACKS) > 0
    )
    inputs["memory"] = kept[:, None].expand(-1, config.memory.slots, -1, -1)
    held = Remembered(*(inputs[field.name] for field in dataclasses.fields(Remembered)))
    seen = memory.propagate(
        inputs["p16"], inputs["p8"], inputs["p4"], held, inputs["points"], inputs["point_labels"]
    )
    hidden = memory.point_to(torch.zeros(1, SMALL.token_width), torch.tensor([-1.0]))
    (seen.masks.sum() + seen.iou.sum() + seen.objectness.sum() + seen.pointer.sum() + hidden.sum()).backward()
    silent = [name for name, p in memory.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert set(silent) <= {name for name in silent if name.endswith("key.bias")}  # softmax forgets a shift of all keys


def test_what_looks_like_the_object_is_drawn_before_anything_is_learnt(tiny_config: StudentConfig) -> None:
    """A frozen encoder that tells two things apart is enough: the mask of one finds it again where it has moved to."""
    config = student_with(tiny_config)
    memory = build(config)
    here, there = torch.zeros(16, 16), torch.zeros(16, 16)
    here[0:8, 0:8], there[8:16, 4:12] = 1, 1
    thing, ground = torch.randn(2, config.width)

    def frame(mask: torch.Tensor) -> torch.Tensor:
        cells = torch.nn.functional.avg_pool2d(mask[None, None], 4)
        return cells * thing[:, None, None] + (1 - cells) * ground[:, None, None]

    inputs = inputs_of(config)
    kept = memory.memorise(frame(here), (2 * here[None] - 1) * 9, torch.ones(1), torch.ones(1) > 0)
    held = Remembered(
        kept[:, None], torch.zeros(1, 1).long(), torch.ones(1, 1) > 0,
        torch.zeros(1, 1, config.width), torch.zeros(1, 1), torch.zeros(1, 1) > 0,
    )  # fmt: skip
    none = torch.full((1, 1), -1)
    with torch.no_grad():
        seen = memory.propagate(
            frame(there), 0 * inputs["p8"], 0 * inputs["p4"], held, torch.zeros(1, 1, 2), none
        ).masks[0]
        shown = memory.propagate(  # and a box finds it in the frame it is drawn on
            frame(there), 0 * inputs["p8"], 0 * inputs["p4"], Remembered(**{**vars(held), "memory_used": none > 0}),
            torch.tensor([[[0.25, 0.5], [0.75, 1.0]]]), torch.tensor([[2, 3]]),
        ).masks[0]  # fmt: skip
    for masks in (seen, shown):
        assert masks[there > 0].mean() > masks[there == 0].mean() + 2


def test_a_student_without_memory_has_none(tiny_config: StudentConfig) -> None:
    assert Student(tiny_config).memory is None
    with pytest.raises(ValueError, match=r"memory\.kind"):
        Memory(tiny_config)


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"kind": "lots"}, "choose one of"),
        ({"latents_2d": 20}, "square number"),
        ({"token_width": 30}, "multiples of 4"),
        ({"ring": 0}, "at least 1"),
    ],
)
def test_sizes_that_cannot_work_are_refused(change: dict[str, object], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        dataclasses.replace(MemoryConfig(), **change)  # type: ignore[arg-type]


@torch.no_grad()
def test_exemplars_are_order_free_and_padding_changes_nothing() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    encoder = ExemplarEncoder(16, 2, 32).eval()
    p16 = torch.randn(1, 16, 6, 6)
    boxes = torch.rand(1, 3, 4) * 0.4 + 0.1
    labels = torch.tensor([[1, 0, -1]])
    prompt, pad = encoder(p16, boxes, labels)
    assert pad.tolist() == [[False, False, False, True]]
    swapped, _ = encoder(p16, boxes[:, [1, 0, 2]], labels[:, [1, 0, 2]])
    torch.testing.assert_close(swapped[:, [0, 2, 1]], prompt[:, :3])
    boxes[:, 2] = 0.9
    torch.testing.assert_close(encoder(p16, boxes, labels)[0][:, :3], prompt[:, :3])
    assert not torch.allclose(encoder(p16, boxes, 1 - labels.clamp(min=0))[0][:, 0], prompt[:, 0])


@torch.no_grad()
def test_a_concept_without_exemplars_is_all_padding() -> None:
    encoder = ExemplarEncoder(16, 2, 32)
    _, pad = encoder(torch.randn(1, 16, 4, 4), torch.rand(2, 2, 4), torch.tensor([[-1, -1], [1, -1]]))
    assert pad.tolist() == [[True, True, True], [False, False, True]]
