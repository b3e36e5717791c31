# SPDX-License-Identifier: Apache-2.0
"""Upstream's numbers at full size: the variant that has every part, in torch.

`python -m bench.vectors` checks all variants, prompts and tracker runs, in torch and through ONNX Runtime.
"""

from __future__ import annotations

import pytest
import torch

from esam3_core.convert.ground import Official
from esam3_core.convert.official import Imported
from esam3_core.nn.sam3_memory import Sam3Memory
from tests.convert.tracker_runs import see, steps
from tests.convert.vectors import VARIANTS, excess, expected, imported, needs_vectors, rule

TINYVIT = VARIANTS[2]


@pytest.fixture(scope="module")
def whole() -> Imported:
    return imported(TINYVIT, tracker=True)


@needs_vectors
def test_every_entry_is_used_or_named(whole: Imported) -> None:
    assert whole.used + len(whole.skipped) == 1161
    assert not any(name.startswith("tracker.") for name in whole.skipped if name != "tracker.no_mem_pos_enc")
    assert "TinyViT (tv_m), text encoder MobileCLIP-S0, context 16, SAM 3's tracker: 1137 entries" in whole.report()


@needs_vectors
def test_a_phrase_and_a_box_find_what_they_find_upstream(whole: Imported) -> None:
    wanted = expected(TINYVIT, "box")
    student = Official(whole.student)
    found = student.ground(rule().image(2026), str(wanted["prompt"]), boxes=wanted["box_cxcywh"])
    ours = {
        "memory": found.grounded.tokens[0], "pred_logits": found.logits, "presence_logit": found.presence,
        "pred_boxes": found.boxes, "scores": found.scores, "top5_masks": found.mask_logits(wanted["top5"].tolist()),
    }  # fmt: skip
    for name, value in ours.items():
        assert excess(name, value, wanted) < 1, name


@needs_vectors
def test_the_tracker_sees_what_it_sees_upstream(whole: Imported) -> None:
    student, wanted = whole.student, expected(TINYVIT, "tracker_plain")
    assert isinstance(student.memory, Sam3Memory)
    with torch.inference_mode():
        for number, ours in enumerate(steps(student.memory, "plain", lambda n: see(student, 2026, n), frames=2)):
            for name, value in ours.items():
                assert excess(f"frame{number}_{name}", value, wanted) < 1, name
