# SPDX-License-Identifier: Apache-2.0
"""Memory that lasts: saved, loaded by another process or camera, refused when it is not whole or not ours."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

import esam3_core
from esam3_core.config import TrackerConfig
from esam3_core.runtime import Exemplar, MemoryFileError
from tests.colour_bundle import draw_blobs
from tests.colour_memory import write_memory_bundle

DT = 1 / 15
RED, BLUE, GREEN = ("red", 150, 150, 50), ("blue", 320, 380, 50), ("green", 500, 150, 45)


def watch(tracker, count=4, start=0.0, size=(480, 640), blobs=(RED, BLUE, GREEN)):
    picture = draw_blobs(blobs, size)
    return [tracker.step(picture, start + index * DT) for index in range(count)][-1]


def known(tracks):
    return {track.id: (track.concept, track.state) for track in tracks}


@pytest.fixture
def tracker(remembering):
    """Ids 1 (red), 2 (a blue thing that a user showed), 3 (like the green one that was shown)."""
    tracker = remembering.track(["red"])
    watch(tracker)
    tracker.add(draw_blobs([RED, BLUE, GREEN]), 3 * DT, points=[(320, 380, 1)], concept="my toy")
    tracker.add_exemplars(draw_blobs([GREEN]), [Exemplar((455, 105, 90, 90), concept="green")])
    watch(tracker, start=4 * DT)
    return tracker


EVERYTHING = {1: ("red", "tracked"), 2: ("my toy", "tracked"), 3: ("green", "tracked")}


def test_after_a_restart_the_same_objects_have_the_same_ids(tracker, remembering, tmp_path):
    assert known(watch(tracker, 1, start=1)) == EVERYTHING
    assert tracker.save(tmp_path / "deep" / "kitchen.safetensors") == 3
    restarted = remembering.track()
    assert restarted.load(tmp_path / "deep" / "kitchen.safetensors") == 3
    assert restarted.concepts == ["red", "green"]
    tracks = watch(restarted, 1, start=0.0)  # its clock starts anew
    assert known(tracks) == EVERYTHING
    assert all(track.first_seen <= track.last_seen == 0.0 for track in tracks)
    (*_, new) = watch(restarted, 3, start=DT, blobs=[RED, BLUE, GREEN, ("red", 600, 420, 38)])
    assert new.id == 4


def test_what_is_not_in_sight_yet_waits_for_memory_age(tracker, tmp_path):
    tracker.save(tmp_path / "m")
    tracker.load(tmp_path / "m")
    assert {state for _, state in known(watch(tracker, 3, start=1e6, blobs=[])).values()} == {"occluded"}
    assert known(watch(tracker, 1, start=1e6 + 1)) == EVERYTHING


@pytest.mark.parametrize(("detect_every", "threshold"), [(1, 1.0), (1000, 0.5)], ids=["it misses", "it does not run"])
def test_memory_alone_takes_them_up(tracker, remembering, tmp_path, detect_every, threshold):
    tracker.save(tmp_path / "m")
    restarted = remembering.track(config=TrackerConfig(detect_every=detect_every))
    restarted.load(tmp_path / "m")
    before, remembering.detector = remembering.detector, replace(remembering.detector, score_threshold=threshold)
    watched = [known(watch(restarted, 1, start=100 + index * DT)) for index in range(3)]
    remembering.detector = before
    assert watched == [EVERYTHING] * 3


def test_another_camera_takes_the_objects_over(tracker, remembering, tmp_path):
    tracker.save(tmp_path / "m")
    other = remembering.track(["blue"])
    watch(other, size=(240, 320), blobs=[])
    other.load(tmp_path / "m")
    half = [(colour, x / 2, y / 2, radius / 2) for colour, x, y, radius in (RED, BLUE, GREEN)]
    assert known(watch(other, 1, start=5.0, size=(240, 320), blobs=half)) == EVERYTHING
    assert other.resets == 0


def test_a_reset_does_not_empty_the_file(tracker, tmp_path):
    tracker.save(tmp_path / "m")
    tracker.reset()
    tracker.load(tmp_path / "m")
    assert known(watch(tracker, 1, start=9)) == EVERYTHING


def refused(tracker, path, reason):
    """Loading fails for `reason`, and the tracker goes on as if nobody had asked."""
    version, concepts = tracker.concept_version, tracker.concepts
    with pytest.raises(MemoryFileError, match=reason):
        tracker.load(path)
    assert (tracker.concept_version, tracker.concepts) == (version, concepts)
    assert known(watch(tracker, 1, start=20)) == EVERYTHING


@pytest.mark.parametrize("place", [0, 4, 40, 2000, -1000, -1])
def test_a_damaged_file_is_refused_and_changes_nothing(tracker, tmp_path, place):
    path = tmp_path / "m"
    tracker.save(path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    refused(tracker, path, "damaged|checksum|other arrays")


@pytest.mark.parametrize("keep", [0, 7, 500, -1])
def test_a_file_that_is_cut_short_is_refused(tracker, tmp_path, keep):
    path = tmp_path / "m"
    tracker.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    refused(tracker, path, "damaged")


def test_other_files_are_refused(tracker, tmp_path):
    refused(tracker, tmp_path / "nothing", "does not exist")
    refused(tracker, tmp_path, "does not exist")
    save_file({"a": np.zeros(3)}, tmp_path / "other")
    refused(tracker, tmp_path / "other", "other arrays")
    weights = {"a": torch.zeros(3, dtype=torch.bfloat16)}  # a type that NumPy does not have
    save_torch(weights, tmp_path / "model")
    refused(tracker, tmp_path / "model", "other arrays")


def test_whoever_may_read_files_here_may_read_the_memory(tracker, tmp_path):
    tracker.save(tmp_path / "m")
    (tmp_path / "other").touch()
    assert (tmp_path / "m").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_file_of_another_bundle_is_refused(tracker, tmp_path):
    other = esam3_core.load(write_memory_bundle(tmp_path / "other"))
    other.bundle.digests["propagator"] = "0" * 64
    foreign = other.track(["red"])
    watch(foreign)
    foreign.save(tmp_path / "m")
    refused(tracker, tmp_path / "m", "saved with the bundle colours")


def test_a_file_with_more_tracks_than_there_is_room_is_refused(tracker, remembering, tmp_path):
    tracker.save(tmp_path / "m")
    small = remembering.track(["red"], TrackerConfig(max_tracks=2))
    watch(small)
    with pytest.raises(MemoryFileError, match="raise max_tracks"):
        small.load(tmp_path / "m")
    assert known(watch(small, 1, start=1)) == {1: ("red", "tracked")}


def test_a_place_that_cannot_be_written_is_said(tracker, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MemoryFileError, match="cannot be written"):
        tracker.save(tmp_path / "file" / "m")


def test_a_full_disk_loses_nothing(tracker, tmp_path):
    """The process may write no more than 4 KiB to a file, which fails as a full disk does."""
    path = tmp_path / "m"
    tracker.save(path)
    before = path.read_bytes()
    assert len(before) > 4096
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(MemoryFileError, match="give another path or make room"):
            tracker.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]  # no debris
    assert known(watch(tracker, 1, start=20)) == EVERYTHING


def test_another_process_reads_the_same(tracker, memory_bundle, tmp_path):
    tracker.save(tmp_path / "m")
    program = """
import json, sys
import esam3_core
from tests.colour_bundle import draw_blobs
tracker = esam3_core.load(sys.argv[1]).track()
tracker.load(sys.argv[2])
picture = draw_blobs([("red", 160, 150, 50), ("blue", 330, 380, 50), ("green", 490, 150, 45)])
print(json.dumps([[track.id, track.concept, track.state] for track in tracker.step(picture, 3.0)]))
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program, str(memory_bundle), str(tmp_path / "m")],
        cwd=root, capture_output=True, text=True, check=True,
    )
    assert {number: (concept, state) for number, concept, state in json.loads(done.stdout)} == EVERYTHING
