# SPDX-License-Identifier: Apache-2.0
"""What a world renders agrees with what it says."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from esam3_core.config import SceneConfig
from esam3_core.scenes import SceneFrame, World, demo_config
from esam3_core.scenes.vocabulary import KINDS, NOUNS

SMALL = {"width": 128, "height": 96}

_DIGEST = """
import hashlib
from esam3_core.config import SceneConfig
from esam3_core.scenes import World
world = World(5, SceneConfig(width=128, height=96))
digest = hashlib.sha256()
for _ in range(3):
    frame = world.step()
    for part in (frame.image, frame.ids, frame.depth, repr(frame.instances).encode(), repr(frame.absent).encode()):
        digest.update(part)
print(digest.hexdigest())
"""


def frames(seed: int, count: int, **options: object) -> list[SceneFrame]:
    world = World(seed, SceneConfig(**{**SMALL, **options}))  # type: ignore[arg-type]
    try:
        return [world.step() for _ in range(count)]
    finally:
        world.close()


def test_two_processes_render_the_same_bytes() -> None:
    runs = {
        subprocess.run([sys.executable, "-c", _DIGEST], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(runs) == 1
    assert len(runs.pop().strip()) == 64


def test_other_seeds_and_splits_are_other_worlds() -> None:
    digests = {
        hashlib.sha256(frames(seed, 1, split=split)[0].image).hexdigest()
        for seed, split in ((1, "train"), (2, "train"), (1, "held_out"), (1, "wide"))
    }
    assert len(digests) == 4


@pytest.mark.parametrize("quality", ["full", "fast"])
def test_boxes_areas_ids_and_depth_agree(quality: str) -> None:
    for frame in frames(11, 3, quality=quality, movers=1.0):
        assert frame.image.shape == (96, 128, 3) and frame.image.dtype == np.uint8
        assert frame.depth.shape == frame.ids.shape == (96, 128)
        assert frame.depth.dtype == np.float32 and frame.ids.dtype == np.uint16
        assert (frame.depth > 0).all() and np.isfinite(frame.depth).all()
        assert {i.id for i in frame.instances} == set(np.unique(frame.ids).tolist()) - {0}
        for instance in frame.instances:
            ys, xs = np.nonzero(frame.ids == instance.id)
            x, y, w, h = instance.box
            assert (xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1) == (x, y, w, h)
            assert instance.area == len(xs)
            assert 0 < instance.visible <= 1


def test_absent_phrases_are_true_of_nothing_in_the_frame() -> None:
    for frame in frames(3, 2) + frames(4, 2, split="held_out") + frames(5, 2, split="wide"):
        said = {p for i in frame.instances for p in i.phrases}
        assert frame.absent
        assert not said & set(frame.absent)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows(kind: str) -> None:
    frame = frames(7, 1, kinds=(kind,), distractors=(0, 0), movers=0.0, distance=(0.4, 0.5))[0]
    assert [i.kind for i in frame.instances] == [kind]
    assert frame.instances[0].area > 25
    assert frame.instances[0].phrases[0] == kind
    assert kind in NOUNS


def test_ids_stay_with_their_objects() -> None:
    seen: dict[int, str] = {}
    for frame in frames(9, 6, fps=4.0, movers=1.0, kicks=1.0):
        for instance in frame.instances:
            assert seen.setdefault(instance.id, instance.kind) == instance.kind
    assert seen


def test_what_stands_behind_something_is_partly_visible() -> None:
    hidden = [
        i.visible
        for seed in range(20, 26)
        for i in frames(seed, 1, objects=(9, 12), distance=(0.5, 0.8), elevation=(10, 20))[0].instances
    ]
    assert min(hidden) < 0.8
    assert max(hidden) == 1.0


def test_stamps_follow_the_rate() -> None:
    assert [f.stamp for f in frames(1, 3, fps=4.0)] == [0.0, 0.25, 0.5]


def test_a_world_without_named_objects_has_only_distractors() -> None:
    frame = frames(2, 1, empty=1.0)[0]
    assert frame.instances == []
    assert not frame.ids.any()
    assert frame.absent


def test_the_demo_keeps_big_cups_in_view() -> None:
    world = World(0, demo_config(fps=3.0))
    for _ in range(12):
        frame = world.step()
    cups = [i for i in frame.instances if "cup" in i.phrases]
    world.close()
    assert len(cups) >= 3
    assert max(max(i.box[2:]) for i in cups) >= 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "choose one of train, wide, held_out"),
        ({"quality": "best"}, "choose full or fast"),
        ({"width": 8}, "at least 64x64"),
        ({"fps": 0.0}, "above 0"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SceneConfig(**options)  # type: ignore[arg-type]
