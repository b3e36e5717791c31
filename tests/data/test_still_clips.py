# SPDX-License-Identifier: Apache-2.0
"""Pictures become clips: the same at every call, their masks where their pixels are, objects hidden by others."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.data.paste import cut_outs
from esam3_core.data.real import RealFolder
from esam3_core.data.still_clips import SIZE, StillClips
from tests.drawn_data import Thing, scatter, write_real_folder

FRAMES = 6


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> RealFolder:
    large = [[Thing("ball", "red", 80, 60, 40)], [Thing("box", "blue", 80, 60, 40)]]
    folder = write_real_folder(
        tmp_path_factory.mktemp("real") / "real", [*large, *(scatter(seed) for seed in range(6))]
    )
    return RealFolder(folder, "all")


@pytest.fixture(scope="module")
def clips(pictures: RealFolder) -> StillClips:
    cuts = [cut for i in range(len(pictures)) for cut in cut_outs(pictures[i])]
    assert cuts
    return StillClips(pictures, cuts, 12, FRAMES, seed=3)


def test_a_clip_is_the_same_at_every_call(clips: StillClips) -> None:
    for first, second in zip(clips[4].read(range(FRAMES)), clips[4].read(range(FRAMES)), strict=True):
        assert np.array_equal(first.image, second.image)
        assert first.masks is not None and second.masks is not None
        assert first.masks.keys() == second.masks.keys()


def test_frames_have_one_size_and_every_one_is_annotated(clips: StillClips) -> None:
    assert len(clips) == 12
    clip = clips[0]
    assert len(clip) == FRAMES
    assert clip.annotated == tuple(range(FRAMES))
    for frame in clip.read(range(FRAMES)):
        assert frame.image.shape == (*SIZE, 3) and frame.image.dtype == np.uint8
        assert frame.masks is not None
        assert set(frame.masks) <= set(clip.labels)
        assert all(crop.size == SIZE for crop in frame.masks.values())


def test_one_pixel_belongs_to_one_object(clips: StillClips) -> None:
    """Whatever lies in front hides what is behind."""
    for index in range(6):
        for frame in clips[index].read([0, FRAMES - 1]):
            assert frame.masks is not None
            covered = sum((crop.full().astype(int) for crop in frame.masks.values()), np.zeros(SIZE, int))
            assert covered.max() <= 1


def test_masks_lie_on_their_pixels(clips: StillClips) -> None:
    """Drawn things are plain and differ from the grey behind them, so a mask's inside is far more even than a frame."""
    evens, wholes = [], []
    for index in range(6):
        for frame in clips[index].read([2]):
            assert frame.masks is not None
            for crop in frame.masks.values():
                if crop.area > 400:
                    evens.append(frame.image[crop.full()].astype(float).std(0).mean())
                    wholes.append(frame.image.reshape(-1, 3).astype(float).std(0).mean())
    assert len(evens) > 3
    assert np.median(evens) < 0.6 * np.median(wholes)


def test_things_move_leave_and_are_hidden(clips: StillClips) -> None:
    moved, gone = 0, 0
    for index in range(len(clips)):
        frames = [frame.masks or {} for frame in clips[index].read(range(FRAMES))]
        for number in clips[index].labels:
            shows = [number in masks for masks in frames]
            gone += any(shows) and not all(shows)
            if shows[0] and shows[-1]:
                moved += frames[0][number].roi[:2] != frames[-1][number].roi[:2]
    assert moved > 10
    assert gone > 3


def test_things_change_their_outline_on_the_way(clips: StillClips) -> None:
    """A turned and zoomed copy would keep the ratio of its axes; what turns out of the picture's plane does not."""
    for layer in clips._plan(4).layers:
        axes = np.array([np.linalg.svd(way[:, :2], compute_uv=False) for way in layer.ways])
        assert np.ptp(axes[:, 0] / axes[:, 1]) > 0.05


def test_some_things_come_nearer_all_the_time(clips: StillClips) -> None:
    """What only sways is at most half as large again; what comes nearer has up to thirteen times the area."""
    areas = [
        [abs(np.linalg.det(way[:, :2])) for way in layer.ways] for i in range(12) for layer in clips._plan(i).layers
    ]
    growth = np.array([max(ways) / min(ways) for ways in areas])
    assert growth.max() > 3.0
    assert np.median(growth) < 3.0


def test_twins_are_in_the_data(clips: StillClips) -> None:
    twins = 0
    for index in range(len(clips)):
        layers = clips._plan(index).layers
        twins += len({id(layer.cut) for layer in layers}) < len(layers)
    assert twins > 0


def test_without_cut_outs_the_picture_alone_moves(pictures: RealFolder) -> None:
    clip = StillClips(pictures, [], 2, FRAMES, seed=0)[0]
    first, last = (frame.image for frame in clip.read([0, FRAMES - 1]))
    assert not np.array_equal(first, last)
