# SPDX-License-Identifier: Apache-2.0
"""Teachers: SAM 3 through transformers and our own students, behind one interface."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from esam3_core.config import StudentConfig
from esam3_core.config_fit import TeacherConfig
from esam3_core.convert.ground import Official
from esam3_core.distill.teacher import Teacher, TeacherError, open_teacher
from esam3_core.distill.teacher_official import OfficialTeacher
from esam3_core.distill.teacher_sam3 import Sam3Teacher, cls_token
from esam3_core.nn.student import Student
from tests.convert.small import small_student
from tests.distill.teachers import write_run

POINTS = torch.tensor([[[0.2, 0.2], [0.7, 0.8], [0.0, 0.0]], [[0.5, 0.5], [0.9, 0.3], [0.4, 0.6]]])
LABELS = torch.tensor([[2, 3, -1], [1, 0, 1]])  # a box; three points
TEXTS = ["red cup", "a very long phrase about a blue box"]


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """Three frames, larger than what the teachers read."""
    return torch.randint(0, 255, (3, 80, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def own_run(tiny_config: StudentConfig, tiny_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("teacher") / "run", tiny_config, tiny_text)


@pytest.fixture(scope="module")
def sam3(tiny_sam3: Path) -> Teacher:
    return open_teacher(TeacherConfig("sam3", str(tiny_sam3)))


@pytest.fixture(scope="module")
def own(own_run: Path) -> Teacher:
    return open_teacher(TeacherConfig("student", str(own_run)))


@pytest.fixture(params=["sam3", "own"])
def teacher(request: pytest.FixtureRequest) -> Teacher:
    """Each kind of teacher."""
    return request.getfixturevalue(request.param)


def test_features_have_the_promised_channels_and_sides(teacher: Teacher, frames: torch.Tensor) -> None:
    levels = teacher.features(frames)
    assert set(levels) == set(teacher.channels) == set(teacher.sides)
    for name, values in levels.items():
        assert values.shape == (3, teacher.channels[name], teacher.sides[name], teacher.sides[name]), name


def test_the_heads_answer_in_the_promised_shapes(teacher: Teacher, frames: torch.Tensor) -> None:
    levels = teacher.features(frames)
    found = teacher.concepts(levels, torch.tensor([0, 2]), TEXTS, top=2)
    assert found.boxes.shape == (2, 2, 4) and found.logits.shape == (2, 2) and found.presence.shape == (2,)
    assert found.masks.shape[:2] == (2, 2) and found.semantic.shape[0] == 2
    assert (found.logits[:, 0] >= found.logits[:, 1]).all()
    assert ((found.boxes >= 0) & (found.boxes <= 1)).all()
    drawn = teacher.prompted(levels, torch.tensor([0, 2]), POINTS, LABELS)
    side = teacher.sides["p4"]
    assert drawn.masks.shape == (2, side, side) and drawn.objectness.shape == (2,)
    assert ((drawn.iou >= 0) & (drawn.iou <= 1)).all()


def test_prompts_and_phrases_change_the_answer(teacher: Teacher, frames: torch.Tensor) -> None:
    levels = teacher.features(frames)
    row = torch.tensor([0, 0])
    drawn = teacher.prompted(levels, row, POINTS, LABELS).masks
    assert not torch.allclose(drawn[0], drawn[1], atol=1e-3)
    found = teacher.concepts(levels, row, TEXTS, top=1)
    assert not torch.allclose(found.semantic[0], found.semantic[1], atol=1e-4)


def test_the_heads_hand_gradients_to_features_and_keep_their_weights(teacher: Teacher, frames: torch.Tensor) -> None:
    levels = {name: value.clone().requires_grad_() for name, value in teacher.features(frames).items()}
    drawn = teacher.prompted(levels, torch.tensor([0, 2]), POINTS, LABELS)
    found = teacher.concepts(levels, torch.tensor([0, 2]), TEXTS, top=1)
    (drawn.masks.sum() + found.semantic.sum() + found.presence.sum()).backward()
    for name in teacher.prompted_levels + teacher.concept_levels:
        assert levels[name].grad is not None and levels[name].grad.abs().max() > 0, name
    network = teacher.model if isinstance(teacher, Sam3Teacher) else teacher.student  # type: ignore[attr-defined]
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_clip_begins_with_what_the_prompts_draw(teacher: Teacher, frames: torch.Tensor) -> None:
    seen = teacher.clip(frames, POINTS, LABELS)
    first = teacher.prompted(teacher.features(frames[:1]), torch.tensor([0, 0]), POINTS, LABELS)
    assert seen.masks.shape[:2] == seen.objectness.shape == seen.pointers.shape[:2] == (3, 2)
    assert torch.allclose(seen.masks[0], first.masks, atol=1e-4)
    assert torch.allclose(seen.objectness[0], first.objectness, atol=1e-4)
    assert torch.allclose(seen.pointers[0], first.pointers, atol=1e-4)


def test_a_clip_is_remembered(teacher: Teacher, frames: torch.Tensor) -> None:
    """The third frame looks different after another second one."""
    one = teacher.clip(frames, POINTS, LABELS)
    other = teacher.clip(torch.stack([frames[0], frames[2], frames[2]]), POINTS, LABELS)
    assert torch.allclose(one.masks[0], other.masks[0], atol=1e-5)
    assert not torch.equal(one.masks[2], other.masks[2])


def test_objects_of_a_clip_do_not_see_each_other(teacher: Teacher, frames: torch.Tensor) -> None:
    both, alone = teacher.clip(frames, POINTS, LABELS), teacher.clip(frames, POINTS[1:], LABELS[1:])
    assert torch.allclose(both.masks[:, 1], alone.masks[:, 0], atol=1e-4)


def test_phrases_get_the_token_that_transformers_leaves_out(sam3: Sam3Teacher, frames: torch.Tensor) -> None:
    """Official SAM 3 appends a CLS token to every prompt. transformers has it only beside boxes: a box that is marked
    as padding leaves the token alone."""
    levels, texts = sam3.features(frames), ["red cup", "box"]
    found = sam3.concepts(levels, torch.tensor([0, 1]), texts, top=6)
    detector = sam3.model.detector_model
    ids, _, pad = sam3.text(texts)
    from esam3_core.distill.teacher import resized
    from esam3_core.nn.student import normalise

    asked = {"pixel_values": normalise(resized(frames[:2], sam3.size)), "input_ids": ids, "attention_mask": ~pad}
    with torch.no_grad():
        plain = detector(**asked)
        official = detector(
            **asked, input_boxes=torch.full((2, 1, 4), 0.5), input_boxes_labels=torch.full((2, 1), -10)
        )
    assert torch.allclose(found.semantic, official.semantic_seg[:, 0], atol=1e-4)
    assert torch.allclose(found.presence, official.presence_logits[:, 0], atol=1e-4)
    assert torch.allclose(found.logits, official.pred_logits.sort(descending=True).values, atol=1e-4)
    assert (official.semantic_seg - plain.semantic_seg).abs().max() > 0.01


def test_the_token_looks_at_the_picture(sam3: Sam3Teacher, frames: torch.Tensor) -> None:
    detector = sam3.model.detector_model
    image = sam3.features(frames)["p16"]
    tokens = cls_token(detector.geometry_encoder, image, torch.zeros_like(image))
    assert tokens.shape == (3, 1, sam3.channels["p16"])
    assert not torch.allclose(tokens[0], tokens[1], atol=1e-3)


def test_the_key_follows_weights_and_size(own_run: Path, sam3: Teacher, tmp_path: Path) -> None:
    keys = [open_teacher(TeacherConfig("student", str(own_run), size)).key for size in (0, 64, 96)]
    assert keys[0] == keys[1] != keys[2]
    shutil.copytree(own_run, tmp_path / "other")
    state = torch.load(tmp_path / "other" / "last.pt", weights_only=True)
    state["average"]["memory.no_object"][0] += 1e-3
    torch.save(state, tmp_path / "other" / "last.pt")
    assert open_teacher(TeacherConfig("student", str(tmp_path / "other"))).key != keys[0] != sam3.key


def test_a_run_its_checkpoint_and_a_bundle_teach(
    own_run: Path, own: Teacher, tiny_bundle: Path, tiny_student: Student, frames: torch.Tensor
) -> None:
    checkpoint = open_teacher(TeacherConfig("student", str(own_run / "last.pt")))
    assert checkpoint.key == own.key
    bundle = open_teacher(TeacherConfig("student", str(tiny_bundle)))
    small = frames[:, :64, :64].contiguous()
    exact = tiny_student.image_encoder(small)
    assert torch.allclose(bundle.features(small)["p16"], exact.p16, atol=0.05)  # bundles keep half precision
    assert bundle.prompted_levels == ()


def test_an_official_checkpoint_teaches_what_it_finds(frames: torch.Tensor) -> None:
    """A small one with random weights; it scores and places a phrase as it does when it is asked alone."""
    student = small_student()
    teacher = OfficialTeacher(student)
    levels = {name: value.requires_grad_() for name, value in teacher.features(frames).items()}
    for name, values in levels.items():
        assert values.shape == (3, teacher.channels[name], teacher.sides[name], teacher.sides[name]), name
    found = teacher.concepts(levels, torch.tensor([0, 2]), TEXTS, top=2)
    for row, picture in enumerate((0, 2)):
        alone = Official(student).ground(frames[picture].numpy(), TEXTS[row])
        assert torch.allclose(found.logits[row], alone.logits.sort(descending=True).values[:2], atol=1e-4)
        assert torch.allclose(found.presence[row], alone.presence, atol=1e-4)
        best = alone.logits.argsort(descending=True)
        assert torch.allclose(found.masks[row], alone.mask_logits(best[:2]), atol=1e-3)
        assert (found.semantic[row] <= alone.mask_logits(best).amax(0) + 1e-3).all()
    found.semantic.sum().backward()
    assert all(value.grad is not None and value.grad.abs().max() > 0 for value in levels.values())
    assert teacher.prompted_levels == () and not any(p.requires_grad for p in student.parameters())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TeacherConfig(), "set teacher.kind to sam3, student or official"),
        (TeacherConfig("student", "nowhere"), "no teacher at nowhere"),
        (TeacherConfig("student", "tests"), "it needs student.yaml, or last.pt and config.yaml"),
        (TeacherConfig("official", "nowhere.pt"), "no teacher at nowhere.pt"),
        (TeacherConfig("sam3", "tests"), "give a folder with config.json and model.safetensors"),
    ],
)
def test_a_teacher_that_cannot_be_opened_says_what_to_do(config: TeacherConfig, words: str) -> None:
    with pytest.raises(TeacherError, match=words):
        open_teacher(config)


def test_another_size_than_sam_3_reads_is_refused(tiny_sam3: Path) -> None:
    with pytest.raises(TeacherError, match=r"reads 56 pixels, not 64: remove teacher.size"):
        open_teacher(TeacherConfig("sam3", str(tiny_sam3), size=64))


def test_a_student_without_memory_does_not_answer_prompts(tiny_bundle: Path, frames: torch.Tensor) -> None:
    bundle = open_teacher(TeacherConfig("student", str(tiny_bundle)))
    with pytest.raises(TeacherError, match="distil stage 2 into it, or set prompt_weight to 0"):
        bundle.prompted(bundle.features(frames), torch.tensor([0, 1]), POINTS, LABELS)
