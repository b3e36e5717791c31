# SPDX-License-Identifier: Apache-2.0
"""SA-V, DAVIS, LVOS, SA-Co/VEval and rendered worlds as clips, read from small trees in their real formats."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from esam3_core.data.clip import choose_window
from esam3_core.data.davis import DavisSequences
from esam3_core.data.lvos import LvosSequences, Span
from esam3_core.data.pictures import read_indices, write_indices
from esam3_core.data.sav import SavFrames, SavVideos
from esam3_core.data.scene_clips import SceneClips
from esam3_core.data.veval import SacoVideos
from tests.data.trees import BLUE, RED, jpg, moved, write_davis, write_lvos, write_sav, write_sav_val, write_veval
from tests.drawn_data import SIZE, Thing, draw_things, write_shard


@pytest.fixture(scope="module")
def sav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sav(tmp_path_factory.mktemp("sav") / "sav_000", "sav_000001", 22).parent


def test_sav_masks_lie_on_every_fourth_frame(sav: Path) -> None:
    clip = SavVideos(sav)[0]
    assert (clip.key, len(clip), clip.rate) == ("sav_000001", 22, 24.0)
    assert clip.annotated == (0, 4, 8, 12, 16, 20)
    for frame in clip.read([4, 5, 12]):
        assert np.abs(frame.image.astype(int) - draw_things([moved(RED, frame.index), BLUE])).mean() < 6
        if frame.index == 5:
            assert frame.masks is None
            continue
        assert frame.masks is not None
        np.testing.assert_array_equal(frame.masks[1].full(), moved(RED, frame.index).mask() > 0)
    assert set(clip.masks(4)) == {1} and set(clip.masks(8)) == {1, 2}


def test_a_video_is_read_in_any_order(sav: Path) -> None:
    frames = SavVideos(sav)[0].frames
    order = [8, 8, 3, 21, 0]
    for index, image in zip(order, frames.read(order), strict=True):
        assert np.abs(image.astype(int) - draw_things([moved(RED, index), BLUE])).mean() < 6
    with pytest.raises(ValueError, match="ends at frame 22"):
        list(frames.read([30]))


def test_sav_says_what_is_missing(sav: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sav_000"):
        SavVideos(tmp_path)
    with pytest.raises(ValueError, match="manual, auto"):
        SavVideos(sav, ["automatic"])
    (tmp_path / "x_manual.json").write_text((sav / "sav_000/sav_000001_manual.json").read_text())
    clip = SavVideos(tmp_path)[0]
    with pytest.raises(FileNotFoundError, match=r"x\.mp4 is missing"):
        list(clip.read([0]))
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="no video"):
        list(clip.read([0]))
    (tmp_path / "x_manual.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        SavVideos(tmp_path)[0]
    (tmp_path / "x_manual.json").write_text("{}")
    with pytest.raises(ValueError, match="lacks masklet"):
        SavVideos(tmp_path)[0]


def test_a_wrong_masklet_is_counted_and_the_others_stay(sav: Path, tmp_path: Path) -> None:
    record = json.loads((sav / "sav_000/sav_000001_manual.json").read_text())
    record["masklet"][2][0]["counts"] = record["masklet"][2][0]["counts"][:-2]
    (tmp_path / "x_manual.json").write_text(json.dumps(record))
    videos = SavVideos(tmp_path)
    assert set(videos[0].masks(8)) == {2}
    assert videos.skips.counts == {"wrong RLE": 1}


def test_sav_val_has_one_png_per_object(tmp_path: Path) -> None:
    clip = SavFrames(write_sav_val(tmp_path, count=9))[0]
    assert clip.annotated == (0, 4, 8) and set(clip.labels) == {1, 2}  # 0 would be background in a packed PNG
    assert clip.names == {1: "000", 2: "001"}
    np.testing.assert_array_equal(clip.masks(4)[1].full(), moved(RED, 4).mask() > 0)
    with pytest.raises(FileNotFoundError, match="sav_val or sav_test"):
        SavFrames(tmp_path / "nothing")


def test_davis_gives_what_was_written(tmp_path: Path) -> None:
    sequences = DavisSequences(write_davis(tmp_path))
    assert len(sequences) == 2 and sequences[1].key == "dogs"
    clip = sequences[0]
    assert clip.annotated == tuple(range(6)) and set(clip.labels) == {1, 2}
    np.testing.assert_array_equal(clip.masks(3)[2].full()[:-3], BLUE.mask()[:-3] > 0)
    void = clip.void(3)
    assert void is not None and void[-3:].all() and not void[:-3].any()


def test_davis_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"val\.txt"):
        DavisSequences(tmp_path)
    root = write_davis(tmp_path)
    for path in (root / "Annotations/480p/bear").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="6 pictures and 0 masks"):
        DavisSequences(root)[0]
    (root / "Annotations/480p/dogs/00001.png").write_bytes(b"torn")
    with pytest.raises(ValueError, match="fetch it again"):
        DavisSequences(root)[1].masks(1)


def test_object_numbers_survive_the_palette(tmp_path: Path) -> None:
    numbers = np.arange(256, dtype=np.uint8).reshape(8, 32)
    write_indices(tmp_path / "a.png", numbers)
    np.testing.assert_array_equal(read_indices(tmp_path / "a.png"), numbers)


def test_a_picture_in_colours_is_no_mask(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(jpg([RED]))
    with pytest.raises(ValueError, match="colours"):
        read_indices(tmp_path / "a.png")


def test_lvos_annotates_every_fifth_frame_of_each_span(tmp_path: Path) -> None:
    sequences = LvosSequences(write_lvos(tmp_path))
    clip = sequences[0]
    assert clip.annotated == (0, 5, 10, 15, 20)
    assert sequences.spans["AbC123"] == {1: Span(1, 21), 2: Span(6, 21)}
    assert set(clip.labels) == {1, 2} and set(clip.masks(0)) == {1} and set(clip.masks(5)) == {1, 2}
    with pytest.raises(FileNotFoundError, match="test_meta"):
        LvosSequences(tmp_path, "test")
    (tmp_path / "valid_meta.json").write_text('{"videos": {"a": {}}}')
    with pytest.raises(ValueError, match="damaged"):
        LvosSequences(tmp_path)


def test_veval_has_masklets_by_phrase(tmp_path: Path) -> None:
    videos = SacoVideos(write_veval(tmp_path), tmp_path)
    clip = videos[0]
    assert [sorted(label.phrases) for label in clip.labels.values()] == [["red ball"], ["blue box"]]
    assert clip.absent == ("dog",)
    assert set(clip.masks(1)) == {1, 2} and set(clip.masks(2)) == {2}
    assert [(pair.phrase, len(pair.masklets)) for pair in videos.of(0)] == [("the red ball", 1), ("a blue box", 1),
                                                                          ("dog", 0)]  # fmt: skip
    assert [frame.index for frame in clip.read([0, 4])] == [0, 4]


def test_a_rendered_world_is_a_clip(tmp_path: Path) -> None:
    things = [[Thing("ball", "red", 40 + 5 * i, 60, 18), Thing("box", "blue", 120, 60, 18)] for i in range(4)]
    write_shard(tmp_path / "held_out-00000.tar", [things[2], things[0], things[3], things[1]])
    _number_frames(tmp_path / "held_out-00000.tar", [2, 0, 3, 1])
    (tmp_path / "scenes.json").write_text(json.dumps({"config": {"fps": 15.0}}))
    clips = SceneClips(tmp_path)
    assert len(clips) == 1 and clips[0].rate == 15.0
    clip = clips[0]
    for frame in clip.read(range(4)):
        assert frame.masks is not None
        np.testing.assert_array_equal(frame.masks[1].full(), things[frame.index][0].mask() > 0)
    assert clip.labels[1].phrases == {"ball", "red ball"}
    assert "blue ball" in clip.absent and "red ball" not in clip.absent


def test_stills_are_no_clips(tmp_path: Path) -> None:
    write_shard(tmp_path / "a.tar", [[RED]])
    with pytest.raises(ValueError, match="--frames 60"):
        SceneClips(tmp_path)


def _number_frames(path: Path, order: list[int]) -> None:
    """Say that the shard's pictures are these frames of one world."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            if member.name.endswith(".json"):
                record = json.loads(data)
                record["frame"] = order[int(member.name.split("-")[-1].split(".")[0])]
                data = json.dumps(record).encode()
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_windows_of_a_clip_stay_inside_it(tmp_path: Path) -> None:
    clip = DavisSequences(write_davis(tmp_path, ["a"], count=12))[0]
    rng = np.random.default_rng(0)
    for count, stride in ((4, 1), (4, 3), (4, 100), (12, 2)):
        for _ in range(20):
            window = choose_window(clip, count, rng, stride)
            steps = set(np.diff(window).tolist())
            assert len(window) == count and len(steps) == 1 and 1 <= steps.pop() <= stride
            assert set(window) <= set(clip.annotated)
    assert choose_window(clip, 15, rng)[-4:] == [11] * 4
    assert clip.masks(0)[1].size == SIZE
