# SPDX-License-Identifier: Apache-2.0
"""Two tracks that are two draw the same thing: it belongs to the one that was there and goes on."""

from __future__ import annotations

import numpy as np
import pytest

from esam3_core.runtime.masks import CroppedMask
from esam3_core.runtime.memory_roster import SeenFrame
from esam3_core.runtime.memory_track import MemoryTrack
from esam3_core.runtime.rivals import continuity, settle_rivals
from esam3_core.runtime.track import Detection
from esam3_core.runtime.upsample import upsample_mask

SIDE, SIZE = 32, (64, 64)
FRAME = SeenFrame({}, SIZE, 0.1)


def drawn(columns, sure=4.0):
    """Logits [32, 32] of a mask over some columns of the middle rows."""
    logits = np.full((SIDE, SIDE), -4.0, np.float32)
    logits[8:24, slice(*columns)] = sure
    return logits


def track(key, was, draws, sure=4.0):
    """A track that was over some columns and now draws others."""
    crop = upsample_mask(drawn(was), 0.0, SIZE)
    x, y, width, height = crop.roi
    one = MemoryTrack.start(Detection("cup", 0.9, (x, y, width, height), crop), 0.0)
    one.key, one.logits = key, drawn(draws, sure)
    return one


def pixels(one):
    return np.flatnonzero((one.logits > 0).any(axis=0)).tolist()


@pytest.mark.parametrize("turned", [False, True], ids=["the older stays", "the newer stays"])
@pytest.mark.parametrize("is_one", [True, False])
def test_what_was_there_has_its_instance_however_sure_another_is_of_it(turned, is_one):
    stays, comes = track(1, was=(8, 24), draws=(8, 24)), track(2, was=(2, 8), draws=(5, 24), sure=9.0)
    settle_rivals(*((comes, stays) if turned else (stays, comes)), is_one, {1, 2}, FRAME)
    assert (stays.suppressed, comes.suppressed) == (False, is_one)
    assert pixels(stays) == list(range(8, 24))
    assert pixels(comes) == list(range(5, 24 if is_one else 8))


def test_what_was_hidden_before_does_not_take_it():
    stays, comes = track(1, was=(6, 24), draws=(8, 24)), track(2, was=(8, 24), draws=(8, 24))
    assert continuity(comes, FRAME) > continuity(stays, FRAME)
    settle_rivals(stays, comes, False, {1}, FRAME)
    assert pixels(comes) == []


def test_where_neither_goes_on_the_surer_keeps_its_pixels():
    wide, sure = track(1, was=(2, 12), draws=(8, 24)), track(2, was=(26, 30), draws=(8, 22), sure=9.0)
    settle_rivals(wide, sure, False, {1}, FRAME)
    assert pixels(wide) == list(range(8, 24)) and pixels(sure) == list(range(8, 22))


def test_all_that_was_shown_are_rivals_whatever_their_names():
    mine, yours, found = (track(key, was=(8, 24), draws=(8, 24)) for key in (1, 2, 3))
    mine.concept, yours.concept = "mine", "yours"
    assert len({one.group for one in (mine, yours, found)}) == 3
    mine.followed = yours.followed = True
    assert mine.group == yours.group != found.group


def test_continuity_is_the_iou_with_where_it_must_be():
    still, gone = track(1, was=(8, 24), draws=(8, 24)), track(2, was=(0, 8), draws=(8, 24))
    assert continuity(still, FRAME) == pytest.approx(1.0) and continuity(gone, FRAME) < 0.05
    still.crop = CroppedMask.empty(SIZE)
    assert continuity(still, FRAME) == 0.0
