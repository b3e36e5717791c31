# SPDX-License-Identifier: Apache-2.0
"""Scene shards and real folders, read from files in their real formats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from esam3_core.data.real import CUP_KINDS, CUP_NAMES, RealFolder, decode
from esam3_core.data.sample import truth
from esam3_core.data.scenes import SceneShards
from tests.drawn_data import SIZE, Thing, draw_things, scatter, write_picture, write_real_folder, write_shard

BALL = Thing("ball", "red", 40, 60, 18)
BOX = Thing("box", "blue", 120, 60, 18)


def test_a_shard_gives_what_was_written(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [[BALL, BOX]])
    sample = SceneShards(tmp_path)[0]
    np.testing.assert_array_equal(sample.masks, np.stack([BALL.mask(), BOX.mask()]))
    assert sample.labels[0].phrases == {"ball", "red ball"}
    assert all(label.attributed for label in sample.labels)
    assert sample.known_nouns is None and sample.key == "a-0000"
    assert np.abs(sample.image.astype(int) - draw_things([BALL, BOX])).mean() < 3
    assert not sample.ignored.any()


def test_shards_are_one_list_with_random_access(tmp_path: Path) -> None:
    write_shard(tmp_path / "b.tar", [[BALL], [BOX]])
    write_shard(tmp_path / "a.tar", [[BALL, BOX]])
    shards = SceneShards(tmp_path)
    assert [shards[i].key for i in (2, 0, 1)] == ["b-0001", "a-0000", "b-0000"]
    assert len(shards) == 3


def test_an_object_that_hardly_shows_is_hidden_not_absent(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [[BALL, BOX]], visible=0.1)
    sample = SceneShards(tmp_path)[0]
    assert [label.phrases for label in sample.labels] == [{"box", "blue box"}]
    assert truth(sample, "ball") is None
    np.testing.assert_array_equal(sample.ignored, BALL.mask())


def test_an_empty_scene_is_a_sample(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [[]])
    sample = SceneShards(tmp_path)[0]
    assert sample.masks.shape == (0, *SIZE)
    assert truth(sample, "cup") == []


def test_a_folder_without_shards_says_how_to_get_some(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="esam3 scenes render"):
        SceneShards(tmp_path)


def test_a_real_folder_gives_what_was_written(tmp_path: Path) -> None:
    folder = write_real_folder(tmp_path / "real", [[BALL, BOX]])
    sample = RealFolder(folder)[0]
    np.testing.assert_array_equal(sample.masks, np.stack([BALL.mask(), BOX.mask()]))
    assert [label.phrases for label in sample.labels] == [{"ball"}, {"box"}]
    assert sample.known_nouns == {"ball", "box"}
    assert truth(sample, "cup") is None
    assert sample.image.shape == (*SIZE, 3)


def test_a_noun_of_another_picture_of_the_folder_is_known_to_be_absent(tmp_path: Path) -> None:
    folder = write_real_folder(tmp_path / "real", [[BALL], [BOX]])
    assert truth(RealFolder(folder)[0], "box") == []


def test_every_picture_is_in_train_or_val_and_stays_there(tmp_path: Path) -> None:
    folder = write_real_folder(tmp_path / "real", [scatter(i, 1) for i in range(40)])
    train, val, every = (RealFolder(folder, split) for split in ("train", "val", "all"))
    assert {*train.labels} | {*val.labels} == {*every.labels}
    assert not {*train.labels} & {*val.labels}
    assert 2 <= len(val) <= 16


def test_what_a_split_lacks_is_still_annotated(tmp_path: Path) -> None:
    """Which nouns a data set annotates does not depend on which pictures happen to fall into a split."""
    folder = write_real_folder(tmp_path / "real", [[BALL]] * 10)
    path = RealFolder(folder, "train").labels[0]
    record = json.loads(path.read_text())
    record["instances"][0]["phrase"] = "box"
    path.write_text(json.dumps(record))
    assert truth(RealFolder(folder, "val")[0], "box") == []


def test_coco_says_cup_for_mugs_too(tmp_path: Path) -> None:
    folder = tmp_path / "coco"
    write_real_folder(folder, [])
    write_picture(folder, "a", draw_things([BALL]), [("cup", BALL.mask())])
    sample = RealFolder(folder)[0]
    assert truth(sample, "cup") == [0]
    assert truth(sample, "mug") is None


def test_a_wine_glass_is_a_glass_and_a_mug_is_a_cup(tmp_path: Path) -> None:
    folder = write_real_folder(tmp_path / "real", [])
    write_picture(folder, "a", draw_things([BALL]), [("wine glass", BALL.mask()), ("mug", BOX.mask())])
    sample = RealFolder(folder)[0]
    assert truth(sample, "glass") == [0] and truth(sample, "wine glass") == [0]
    assert truth(sample, "cup") == [1] and truth(sample, "mug") == [1]


def test_cups_that_were_looked_at_are_known_by_kind(tmp_path: Path) -> None:
    key, kinds = next((k, v) for k, v in CUP_KINDS.items() if "0" in v or "1" in v)
    place = min(int(i) for i in kinds)
    folder = write_real_folder(tmp_path / "coco", [])
    write_picture(folder, key, draw_things([BALL]), [("cup", BALL.mask())] * (place + 1))
    sample = RealFolder(folder)[0]
    kind = kinds[str(place)]
    assert sample.labels[place].phrases == set(CUP_NAMES[kind])
    assert not sample.labels[place].maybe
    assert all(kind in {"cup", "mug", "glass"} for kind in kinds.values())


def test_crowds_are_neither_instances_nor_background(tmp_path: Path) -> None:
    folder = write_real_folder(tmp_path / "real", [])
    write_picture(folder, "a", draw_things([BALL]), [("ball", BALL.mask())], crowd=True)
    sample = RealFolder(folder)[0]
    assert len(sample.masks) == 0
    np.testing.assert_array_equal(sample.ignored, BALL.mask())
    assert truth(sample, "ball") is None


def test_a_mask_of_another_size_is_scaled_to_its_picture() -> None:
    from pycocotools import mask as coco

    mask = np.zeros((20, 40), np.uint8)
    mask[5:10, 10:30] = 1
    counts = coco.encode(np.asfortranarray(mask))["counts"].decode()
    scaled = decode(counts, [20, 40], 40, 80)
    assert scaled.shape == (40, 80) and scaled.sum() == 4 * mask.sum()


def test_bad_folders_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="right folder"):
        RealFolder(tmp_path)
    folder = write_real_folder(tmp_path / "real", [[BALL]])
    (folder / "images" / "0000.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="restore it or delete"):
        RealFolder(folder)[0]
