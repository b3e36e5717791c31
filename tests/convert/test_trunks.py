# SPDX-License-Identifier: Apache-2.0
"""All nine trunks: upstream's entries, names and shapes, fill timm's trunks and nothing is left."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from esam3_core.convert.entries import Entries
from esam3_core.convert.trunk import trunk_state
from esam3_core.nn.trunk import Trunk
from esam3_core.runtime.errors import CheckpointError

PREFIX = "detector.backbone.vision_backbone.trunk.model.backbone.model."
ENTRIES: dict[str, dict[str, list[int]]] = json.loads(
    gzip.decompress((Path(__file__).parent / "trunk_entries.json.gz").read_bytes())
)
"""Variant -> name and shape of every entry of its trunk, listed from EfficientSAM3's builders (commit c1f0b02)."""


def trunk(variant: str) -> Trunk:
    with torch.device("meta"):
        return Trunk(variant, strides=(32,))


def entries(variant: str, **more: list[int]) -> Entries:
    shapes = {**ENTRIES[variant], **more}
    return Entries({PREFIX + name: torch.empty(shape, device="meta") for name, shape in shapes.items()})


@pytest.mark.parametrize("variant", ENTRIES)
def test_upstreams_entries_are_a_trunk(variant: str) -> None:
    checkpoint, wanted = entries(variant), trunk(variant)
    state = trunk_state(checkpoint, PREFIX, wanted, variant)
    assert {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in wanted.state_dict().items()
    }
    assert not checkpoint.unused() and not checkpoint.skipped


@pytest.mark.parametrize("variant", ["tv_m", "rv_m", "ev_m"])
def test_a_classifier_that_older_checkpoints_carry_is_named(variant: str) -> None:
    head = {"tv": "norm_head.weight", "rv": "classifier.l.weight", "ev": "head.op_list.0.conv.weight"}[variant[:2]]
    checkpoint = entries(variant, **{head: [8]})
    trunk_state(checkpoint, PREFIX, trunk(variant), variant)
    assert checkpoint.skipped == {PREFIX + head: "classifies ImageNet, which no student does"}


def test_entries_of_another_size_are_refused() -> None:
    with pytest.raises(CheckpointError, match="trunk is not repvit_m0_9: it lacks stages_2"):
        trunk_state(entries("rv_m"), PREFIX, trunk("rv_s"), "rv_s")
    with pytest.raises(CheckpointError, match=r"has the shape .* where .* is needed"):
        trunk_state(entries("tv_l"), PREFIX, trunk("tv_m"), "tv_m")
