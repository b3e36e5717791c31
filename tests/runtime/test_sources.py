# SPDX-License-Identifier: Apache-2.0
"""Sources: the same frames, whatever they are kept in."""

import io
import logging
import resource

import cv2
import numpy as np
import pytest

from esam3_core.runtime import SourceError
from esam3_core.runtime.errors import OutputError
from esam3_core.runtime.sources import open_source, read_image
from esam3_core.runtime.video import VideoWriter
from tests.bags import write_bag as write_any_bag
from tests.colour_bundle import draw_blobs

FRAMES = [draw_blobs([("red", 40 + 8 * index, 60, 20)], (120, 160)) for index in range(12)]


def write_images(folder, names):
    folder.mkdir()
    for name, frame in zip(names, FRAMES, strict=False):
        cv2.imwrite(str(folder / name), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return folder


def write_video(path, frames=FRAMES, rate=25.0):
    with VideoWriter(path, rate) as video:
        for frame in frames:
            video.write(frame)
    return path


def write_bag(folder, **values):
    return write_any_bag(folder, FRAMES, **values)


def assert_frames(source, start=0.0, rate=25.0, tolerance=0):
    """Twice, because a source starts at its beginning each time."""
    for _ in range(2):
        indices, stamps, images = zip(*source, strict=True)
        assert indices == tuple(range(len(FRAMES)))
        assert stamps == pytest.approx([start + index / rate for index in indices], abs=1e-6)
        for image, frame in zip(images, FRAMES, strict=True):
            assert image.shape == frame.shape and image.dtype == np.uint8
            assert np.abs(image.astype(int) - frame).mean() <= tolerance
    assert source.length == len(FRAMES)
    assert source.rate == pytest.approx(rate)


def test_a_video_gives_its_frames(tmp_path):
    assert_frames(open_source(write_video(tmp_path / "a.mp4")), tolerance=3)


def test_a_folder_gives_its_images_in_natural_order(tmp_path):
    folder = write_images(tmp_path / "images", [f"frame{index}.png" for index in range(12)])
    (folder / "notes.txt").write_text("no image")
    assert_frames(open_source(folder), rate=30.0)


def test_one_image_is_a_source(tmp_path):
    folder = write_images(tmp_path / "images", ["one.png"])
    ((index, stamp, image),) = open_source(folder / "one.png")
    assert (index, stamp) == (0, 0.0) and (image == FRAMES[0]).all()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_bag_gives_the_images_of_its_topic(tmp_path, storage):
    folder = write_bag(tmp_path / "bag", storage=storage)
    assert_frames(open_source(folder), 5.0, 15.0)
    (file,) = [path for path in folder.iterdir() if path.suffix in (".mcap", ".db3")]
    assert_frames(open_source(file), 5.0, 15.0)


@pytest.mark.parametrize("encoding", ["bgr8", "rgba8", "bgra8"])
def test_a_bag_may_hold_any_usual_encoding(tmp_path, encoding):
    assert_frames(open_source(write_bag(tmp_path / "bag", encoding=encoding, padding=5)), 5.0, 15.0)


def test_grey_becomes_three_equal_channels(tmp_path):
    _, _, image = next(iter(open_source(write_bag(tmp_path / "bag", encoding="mono8"))))
    assert (image == cv2.cvtColor(FRAMES[0], cv2.COLOR_RGB2GRAY)[..., None]).all()


@pytest.mark.parametrize(("suffix", "tolerance"), [(".png", 0), (".jpg", 4)])
def test_a_bag_may_hold_compressed_images(tmp_path, suffix, tolerance):
    assert_frames(open_source(write_bag(tmp_path / "bag", compressed=suffix)), 5.0, 15.0, tolerance)


def test_images_without_a_stamp_take_the_time_they_were_recorded(tmp_path):
    assert_frames(open_source(write_bag(tmp_path / "bag", stamps=False)), 5.0, 15.0)


def test_the_topic_of_a_bag_can_be_chosen(tmp_path):
    folder = write_bag(tmp_path / "bag", topics=("/left", "/right"))
    assert open_source(folder).topic == "/left"
    assert open_source(folder, "/right").topic == "/right"
    with pytest.raises(SourceError, match="no images of topic /top: its image topics are /left, /right"):
        open_source(folder, "/top")
    with pytest.raises(SourceError, match="no images of topic /speech"):
        open_source(folder, "/speech")


def test_an_encoding_that_is_not_supported_is_named(tmp_path):
    source = open_source(write_bag(tmp_path / "bag", encoding="16UC1"))
    with pytest.raises(SourceError, match=r"message 0 of .*'16UC1': record one of rgb8, bgr8"):
        list(source)


def test_a_bag_without_images_is_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no image: record a camera topic"):
        open_source(write_bag(tmp_path / "bag", topics=()))


def test_a_broken_bag_is_refused(tmp_path):
    folder = write_bag(tmp_path / "bag")
    file = next(folder.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(SourceError, match=r"not a readable bag.*ros2 bag reindex"):
        list(open_source(folder))


def test_a_bag_file_without_its_metadata_is_refused(tmp_path):
    lone = tmp_path / "lone.mcap"
    lone.write_bytes(b"x")
    with pytest.raises(SourceError, match=r"give its folder with metadata\.yaml"):
        open_source(lone)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("missing.mp4", "does not exist: give a video"),
        ("", "an empty name|holds no image"),
        ("empty", "holds no image"),
        ("text.mp4", "convert it with ffmpeg"),
        ("95", "webcam 95 cannot be opened"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_remedy(tmp_path, monkeypatch, spec, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SourceError, match=reason):
        open_source(spec)


def test_a_topic_of_what_is_no_bag_is_refused(tmp_path):
    with pytest.raises(SourceError, match="is not a bag, so it has no topic"):
        open_source(write_video(tmp_path / "a.mp4"), topic="/image")


def test_a_video_that_is_cut_short_gives_what_it_has_and_warns(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 255, (40, 120, 160, 3), np.uint8)
    path = write_video(tmp_path / "a.mp4", noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with caplog.at_level(logging.WARNING):
        assert 0 < len(list(open_source(path))) < 40
    assert "cut short" in caplog.text


def test_a_broken_image_among_others_is_skipped_with_a_warning(tmp_path, caplog):
    folder = write_images(tmp_path / "images", [f"{index}.png" for index in range(5)])
    (folder / "2.png").write_bytes(b"")
    assert [index for index, _, _ in open_source(folder)] == [0, 1, 3, 4]
    assert "2.png (0 bytes) is not an image" in caplog.text


def test_a_folder_of_broken_images_only_is_an_error(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"none of 3 images can be read; the last: .*c\.png \(8 bytes\)"):
        list(open_source(tmp_path))


@pytest.mark.parametrize("name", ["missing.png", "text.png"])
def test_a_broken_image_alone_is_an_error(tmp_path, name):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(SourceError, match=name):
        read_image(tmp_path / name)


def test_deep_and_grey_images_become_rgb8(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 6), 0x8000, np.uint16))
    assert (read_image(tmp_path / "deep.png") == np.full((4, 6, 3), 128)).all()


class TestVideoWriter:
    def test_browsers_can_play_it(self, tmp_path):
        """H.264 in yuv420p with the index before the data."""
        data = write_video(tmp_path / "a.mp4").read_bytes()
        assert b"avc1" in data and data.index(b"moov") < data.index(b"mdat")
        assert pixel_format(tmp_path / "a.mp4") == "yuv420p"

    def test_odd_sizes_are_padded(self, tmp_path):
        path = write_video(tmp_path / "a.mp4", [np.zeros((121, 163, 3), np.uint8)] * 3)
        assert next(iter(open_source(path)))[2].shape == (122, 164, 3)

    def test_frames_of_another_size_are_resized(self, tmp_path):
        path = write_video(tmp_path / "a.mp4", [FRAMES[0], np.zeros((200, 200, 3), np.uint8)])
        assert [image.shape for _, _, image in open_source(path)] == [(120, 160, 3)] * 2

    def test_another_suffix_is_refused(self, tmp_path):
        with pytest.raises(SourceError, match=r"end in \.mp4"):
            VideoWriter(tmp_path / "a.avi", 25)

    def test_a_disk_that_is_full_is_told(self, tmp_path):
        """As when it is full, ffmpeg may not write more than so many bytes."""
        noise = np.random.default_rng(0).integers(0, 256, (40, 240, 320, 3), np.uint8)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with pytest.raises(OutputError, match=r"a\.mp4 could not be written to its end .* is the disk full"):
                write_video(tmp_path / "a.mp4", list(noise))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_no_frame_no_file(self, tmp_path):
        write_video(tmp_path / "a.mp4", [])
        assert not (tmp_path / "a.mp4").exists()


def pixel_format(path):
    import subprocess

    import imageio_ffmpeg

    told = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path)], capture_output=True, text=True).stderr
    (line,) = [line for line in io.StringIO(told) if "Video: h264" in line]
    return "yuv420p" if "yuv420p" in line else line
