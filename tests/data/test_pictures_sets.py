# SPDX-License-Identifier: Apache-2.0
"""SA-1B, SA-Co, COCO and LVIS, read from small trees in their real formats."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from esam3_core.data.coco import CocoPictures
from esam3_core.data.lvis import LvisPictures
from esam3_core.data.sa1b import Sa1bShards, find_shards, stream
from esam3_core.data.saco import SacoPairs, SacoPictures, clean_phrase
from esam3_core.data.sample import Sample, truth
from esam3_core.data.skips import Skips, Tolerant
from tests.data.trees import BLUE, GREEN, RED, coco_file, jpg, rle, sa1b_record, saco_file, write_sa1b
from tests.drawn_data import SIZE, draw_things

PICTURES = {11: [RED, BLUE], 12: [BLUE], 13: [RED, GREEN]}


def keys(samples: object) -> list[str]:
    return [sample.key for sample in samples]  # type: ignore[attr-defined]


def test_sa1b_gives_what_was_written(tmp_path: Path) -> None:
    write_sa1b(tmp_path / "sa_000000.tar", PICTURES)
    shards, skips = Sa1bShards(tmp_path), Skips()
    assert len(shards) == 3 and shards.skips.total == 0
    sample = shards[0]
    assert sample.key == "sa_11" and np.abs(sample.image.astype(int) - draw_things([RED, BLUE])).mean() < 3
    assert {mask.tobytes() for mask in sample.masks} == {RED.mask().tobytes(), BLUE.mask().tobytes()}
    assert truth(sample, "ball") is None and truth(sample, "dog") is None
    assert keys(stream(find_shards(tmp_path), skips)) == ["sa_11", "sa_12", "sa_13"] and skips.total == 0


def test_sa1b_has_the_largest_masks_first(tmp_path: Path) -> None:
    write_sa1b(tmp_path / "sa_0.tar", {1: [GREEN, BLUE]})
    areas = Sa1bShards(tmp_path)[0].masks.sum((1, 2))
    assert areas[0] > areas[1]


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 0.97])
def test_a_torn_tar_gives_what_lies_before_the_tear(tmp_path: Path, share: float) -> None:
    path = write_sa1b(tmp_path / "a.tar", PICTURES)
    whole = write_sa1b(tmp_path / "b.tar", {21: [RED]})
    data = path.read_bytes()
    path.write_bytes(data[: int(data.rstrip(b"\0").__len__() * share)])
    skips = Skips()
    read = keys(stream([path, whole], skips))
    assert read[-1] == "sa_21" and skips.total >= 1
    shards = Sa1bShards(tmp_path)
    assert keys(shards) == read and shards.skips.total >= 1
    assert read[:-1] == ["sa_11", "sa_12", "sa_13"][: len(read) - 1]


def test_no_tar_at_all_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sa_000000"):
        Sa1bShards(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"no tar")
    assert len(Sa1bShards(tmp_path)) == 0
    skips = Skips()
    assert list(stream([tmp_path / "a.tar"], skips)) == [] and skips.counts["torn tar"] == 1


def test_wrong_and_empty_masks_are_left_out_and_counted(tmp_path: Path) -> None:
    record = sa1b_record(11, [RED.mask(), BLUE.mask(), np.zeros(SIZE, np.uint8)])
    record["annotations"][0]["segmentation"]["counts"] = record["annotations"][0]["segmentation"]["counts"][:-4]
    write_sa1b(tmp_path / "a.tar", {11: [RED, BLUE]}, {11: record})
    shards = Sa1bShards(tmp_path)
    np.testing.assert_array_equal(shards[0].masks, [BLUE.mask()])
    assert shards.skips.counts == {"wrong RLE": 1, "empty mask": 1}
    assert "1 x wrong RLE" in str(shards.skips)


def test_a_damaged_record_costs_one_picture(tmp_path: Path) -> None:
    write_sa1b(tmp_path / "a.tar", PICTURES, {12: b'{"image": {'})
    skips = Skips()
    assert keys(stream(find_shards(tmp_path), skips)) == ["sa_11", "sa_13"]
    assert skips.counts == {"damaged picture or JSON": 1}
    shards = Sa1bShards(tmp_path)
    with pytest.raises(ValueError, match="fetch its tar again"):
        shards[1]
    tolerant = Tolerant(shards)
    assert keys(tolerant[i] for i in range(3)) == ["sa_11", "sa_13", "sa_13"] and tolerant.skips.total == 1


def test_a_data_set_without_one_good_sample_is_given_up(tmp_path: Path) -> None:
    write_sa1b(tmp_path / "a.tar", {1: [RED]}, {1: b"{}"})
    with pytest.raises(ValueError, match="cannot be read"):
        Tolerant(Sa1bShards(tmp_path))[0]


@pytest.fixture
def gold(tmp_path: Path) -> list[Path]:
    """Two annotators; they disagree on the second picture's ball."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "a.jpg").write_bytes(jpg([RED, GREEN, BLUE]))
    (tmp_path / "1" / "b.jpg").write_bytes(jpg([BLUE]))
    first = [
        (1, "1/a.jpg", "Ball", [RED.mask(), GREEN.mask()], True),
        (2, "1/a.jpg", "the red ball", [RED.mask()], True),
        (3, "1/a.jpg", "blue ball", [], True),
        (4, "1/a.jpg", "toy", [BLUE.mask()], False),
        (5, "1/b.jpg", "ball", [], True),
    ]
    second = copy.deepcopy(first)
    second[4] = (5, "1/b.jpg", "ball", [BLUE.mask()], True)
    return [saco_file(tmp_path / f"gold_{n}.json", pairs) for n, pairs in (("a", first), ("b", second))]


def test_saco_pairs_hold_every_annotators_answer(gold: list[Path]) -> None:
    pairs = SacoPairs(gold, gold[0].parent)
    assert [pair.id for pair in pairs.pairs] == [1, 2, 3, 5]
    assert pairs.skips.counts == {"pair not annotated in full": 1}
    assert [[len(answer) for answer in pair.answers] for pair in pairs.pairs] == [[2, 2], [1, 1], [0, 0], [0, 1]]
    assert pairs.picture("1/a.jpg").shape == (*SIZE, 3)


def test_saco_samples_know_exactly_what_was_asked(gold: list[Path]) -> None:
    samples = SacoPictures(gold, gold[0].parent)
    assert len(samples) == 2
    sample = samples[0]
    assert truth(sample, "ball") == [0, 1]
    assert truth(sample, "red ball") == [2]
    # Balls of unknown colour are there, but somebody checked that none is blue.
    assert truth(sample, "blue ball") == [] and "blue ball" in sample.absent
    assert truth(sample, "green ball") is None and truth(sample, "box") is None and truth(sample, "toy") is None
    assert truth(samples[1], "ball") == []


def test_saco_survives_cropping(gold: list[Path]) -> None:
    from esam3_core.data.augment import view

    seen = view(SacoPictures(gold, gold[0].parent)[0], 128, None)
    assert truth(seen.sample, "blue ball") == [] and truth(seen.sample, "green ball") is None
    assert seen.sample.checked_only


def test_saco_refuses_files_that_do_not_belong_together(gold: list[Path], tmp_path: Path) -> None:
    other = saco_file(tmp_path / "other.json", [(1, "1/a.jpg", "ball", [], True)])
    with pytest.raises(ValueError, match="of one set"):
        SacoPairs([gold[0], other], tmp_path)
    with pytest.raises(FileNotFoundError, match="is missing"):
        SacoPairs([tmp_path / "none.json"], tmp_path)
    (tmp_path / "torn.json").write_text(gold[0].read_text()[:100])
    with pytest.raises(ValueError, match="damaged"):
        SacoPairs([tmp_path / "torn.json"], tmp_path)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(ValueError, match="lacks images"):
        SacoPairs([tmp_path / "list.json"], tmp_path)
    (tmp_path / "1" / "a.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="pictures"):
        SacoPictures(gold, tmp_path)[0]


def test_phrases_lose_their_article() -> None:
    assert [clean_phrase(p) for p in ("The fish ball", "a  dog", "The", "another")] == ["fish ball", "dog", "the",
                                                                                     "another"]  # fmt: skip


def read_coco(tmp_path: Path, annotations: list[dict], names: list[str]) -> Sample:
    (tmp_path / "a.jpg").write_bytes(jpg([RED, BLUE]))
    path = coco_file(tmp_path / "coco.json", [{"id": 5, "file_name": "a.jpg"}], annotations, names)
    return CocoPictures(path, tmp_path)[0]


def test_coco_knows_all_its_classes_everywhere(tmp_path: Path) -> None:
    items = [{"image_id": 5, "category_id": 1, "segmentation": rle(RED.mask())},
             {"image_id": 5, "category_id": 3, "segmentation": [[100, 40, 140, 40, 140, 80, 100, 80]]}]  # fmt: skip
    sample = read_coco(tmp_path, items, ["sports ball", "dog", "cup"])
    assert truth(sample, "ball") == [0] and truth(sample, "cup") == [1] and truth(sample, "dog") == []
    assert truth(sample, "mug") is None and truth(sample, "fork") is None
    np.testing.assert_array_equal(sample.masks[0], RED.mask())


def test_cocos_crowds_are_neither_there_nor_absent(tmp_path: Path) -> None:
    counts = [0, 3, *(17, 3) * 5, SIZE[0] * SIZE[1] - 103]
    crowd = {"image_id": 5, "category_id": 2, "iscrowd": 1, "segmentation": {"size": list(SIZE), "counts": counts}}
    sample = read_coco(tmp_path, [crowd], ["cup", "dog"])
    assert truth(sample, "dog") is None and truth(sample, "cup") == [] and not len(sample.masks)
    assert sample.ignored is not None and sample.ignored.sum() == 18


def test_coco_counts_what_it_cannot_use(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpg([RED]))
    items = [{"image_id": 5, "category_id": 1, "segmentation": s} for s in ([], [[1, 2]], rle(np.zeros(SIZE)))]
    samples = CocoPictures(coco_file(tmp_path / "c.json", [{"id": 5, "file_name": "a.jpg"}], items, ["cup"]), tmp_path)
    assert len(samples[0].masks) == 0
    assert samples.skips.counts == {"wrong segmentation": 2, "empty mask": 1}


LVIS = ["cup", "mug", "bow_(weapon)", "bow_(decorative_ribbon)", "dog", "aerosol_can"]


def read_lvis(tmp_path: Path, **record: list[int]) -> Sample:
    """A picture with a cup (class 1)."""
    (tmp_path / "val2017").mkdir()
    (tmp_path / "val2017" / "000000000005.jpg").write_bytes(jpg([RED, BLUE]))
    image = {"id": 5, "coco_url": "http://images.cocodataset.org/val2017/000000000005.jpg",
             "neg_category_ids": [], "not_exhaustive_category_ids": [], **record}  # fmt: skip
    items = [{"image_id": 5, "category_id": 1, "segmentation": rle(RED.mask())}]
    return LvisPictures(coco_file(tmp_path / "lvis.json", [image], items, LVIS), tmp_path)[0]


def test_lvis_knows_what_was_looked_for(tmp_path: Path) -> None:
    sample = read_lvis(tmp_path, neg_category_ids=[2, 5, 3])
    assert truth(sample, "cup") == [0]
    assert truth(sample, "dog") == [] and "dog" in sample.absent
    assert truth(sample, "aerosol can") is None  # nobody looked
    assert truth(sample, "bow") is None  # a word of two classes
    assert sample.known_nouns == {"cup", "mug", "dog"}


def test_lvis_classes_annotated_in_part_are_unknown(tmp_path: Path) -> None:
    sample = read_lvis(tmp_path, not_exhaustive_category_ids=[1], neg_category_ids=[5])
    assert truth(sample, "cup") is None and truth(sample, "dog") == []
    np.testing.assert_array_equal(sample.masks, [RED.mask()])


def test_a_mug_nobody_looked_for_may_be_a_cup(tmp_path: Path) -> None:
    sample = read_lvis(tmp_path, neg_category_ids=[5])
    assert "cup" not in (sample.known_nouns or ())
    assert "mug" not in sample.absent


def test_lvis_has_wine_glasses_in_one_word(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpg([RED]))
    items = [{"image_id": 5, "category_id": 1, "segmentation": rle(RED.mask())}]
    image = {"id": 5, "coco_url": "http://images.cocodataset.org/val2017/a.jpg"}
    sample = LvisPictures(coco_file(tmp_path / "lvis.json", [image], items, ["wineglass"]), tmp_path)[0]
    assert sample.labels[0].phrases == {"wineglass", "wine glass", "glass"}


def test_broken_annotation_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps({"images": []}))
    with pytest.raises(ValueError, match="lacks annotations, categories"):
        CocoPictures(tmp_path / "c.json", tmp_path)
