# SPDX-License-Identifier: Apache-2.0
"""A training run opens every kind of data set and is asked only what is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from esam3_core.config_fit import SourceConfig
from esam3_core.data.augment import view
from esam3_core.data.sample import truth
from esam3_core.distill.prompts import choose_prompts
from esam3_core.distill.stage3 import open_source
from tests.data.trees import BLUE, RED, coco_file, jpg, rle, saco_file, write_sa1b


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(jpg([RED, BLUE]))
    write_sa1b(tmp_path / "sa_0.tar", {1: [RED, BLUE]})
    pairs = [(1, "a.jpg", "red ball", [RED.mask()], True), (2, "a.jpg", "green ball", [], True)]
    saco_file(tmp_path / "saco.json", pairs)
    items = [{"image_id": 5, "category_id": 1, "segmentation": rle(RED.mask())}]
    coco_file(tmp_path / "coco.json", [{"id": 5, "file_name": "a.jpg"}], items, ["sports ball", "dog"])
    image = {"id": 5, "coco_url": "http://images.cocodataset.org/val2017/a.jpg", "neg_category_ids": [2]}
    coco_file(tmp_path / "lvis.json", [image], items, ["toy", "dog"])
    return tmp_path


@pytest.mark.parametrize(("kind", "true", "false"), [("saco", "red ball", "green ball"), ("coco", "ball", "dog"),
                                                     ("lvis", "toy", "dog")])  # fmt: skip
def test_prompts_ask_what_the_labels_answer(folder: Path, kind: str, true: str, false: str) -> None:
    source = open_source(SourceConfig(str(folder / f"{kind}.json"), kind, pictures=str(folder)))
    assert truth(source[0], true) == [0] and truth(source[0], false) == []
    rng = np.random.default_rng(0)
    asked = {p.phrase: p.hits for _ in range(30) for p in choose_prompts(view(source[0], 128, rng).sample, 3, [], rng)}
    assert asked.get(true) == (0,)
    assert all(not hits for phrase, hits in asked.items() if phrase not in (true, "sports ball"))


def test_a_word_nobody_checked_is_not_denied(folder: Path) -> None:
    """SA-Co's annotators looked for two phrases, not for laptops; COCO's looked for all of their classes."""
    rng = np.random.default_rng(0)
    for kind, denied in (("saco", False), ("coco", True)):
        sample = open_source(SourceConfig(str(folder / f"{kind}.json"), kind, pictures=str(folder)))[0]
        asked = {prompt.phrase for _ in range(40) for prompt in choose_prompts(sample, 4, ["kayak"], rng)}
        assert ("kayak" in asked) == denied


def test_pictures_without_names_give_no_prompt(folder: Path) -> None:
    sample = open_source(SourceConfig(str(folder), "sa1b"))[0]
    assert len(sample.masks) == 2
    assert choose_prompts(sample, 3, ["kayak"], np.random.default_rng(0)) == []


def test_an_unknown_kind_lists_those_there_are(folder: Path) -> None:
    with pytest.raises(ValueError, match="saco, coco or lvis"):
        open_source(SourceConfig(str(folder), "imagenet"))
