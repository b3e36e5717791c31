# SPDX-License-Identifier: Apache-2.0
"""The memory bank against a plain model of it: lists that anybody can check by eye."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from esam3_core.config import MemoryConfig
from esam3_core.runtime.memory import MemoryBank, MemoryShape

SHAPE = MemoryShape(anchors=2, ring=3, tokens=2, width=4, pointers=4, pointer_width=3)


@dataclass
class Plain:
    """What one track should remember: (value, frame) in the order of writing."""

    anchors: list[float] = field(default_factory=list)
    ring: list[float] = field(default_factory=list)
    kept: list[tuple[float, int]] = field(default_factory=list)
    pointers: list[tuple[float, int]] = field(default_factory=list)

    def write(self, value: float, anchor: bool, frame: int) -> None:
        anchor = anchor and len(self.anchors) < SHAPE.anchors
        (self.anchors if anchor else self.ring).append(value)
        (self.kept if anchor else self.pointers).append((value, frame))


def written(value: float) -> tuple[np.ndarray, np.ndarray]:
    return np.full((SHAPE.tokens, SHAPE.width), value, np.float32), np.full(SHAPE.pointer_width, value, np.float32)


def write(bank: MemoryBank, key: int, value: float, anchor: bool = False) -> None:
    latents, pointer = written(value)
    bank.write(key, latents, anchor)
    bank.point(key, pointer, anchor)


def frames_of(read: dict[str, np.ndarray], row: int) -> set[tuple[int, float]]:
    """(age, value) of every used slot."""
    used = read["memory_used"][row]
    ages, latents = read["memory_age"][row][used], read["memory"][row][used]
    return {(int(age), float(one[0, 0])) for age, one in zip(ages, latents, strict=True)}


def pointers_of(read: dict[str, np.ndarray], row: int) -> set[tuple[float, float]]:
    used = read["pointer_used"][row]
    ages = read["pointer_age"][row][used]
    return {(float(age), float(one[0])) for age, one in zip(ages, read["pointers"][row][used], strict=True)}


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["open", "close", "write", "write", "write", "tick"]), st.integers(0, 9), st.booleans()),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_it_remembers_the_anchors_and_the_newest_frames_of_every_track(actions):
    bank, plain, frame, keys_given = MemoryBank(SHAPE, 3), {}, 0, []
    for number, (action, which, anchor) in enumerate(actions, start=1):
        alive = sorted(plain)
        if action == "tick":
            bank.tick()
            frame += 1
        elif action == "open" and not bank.full:
            keys_given.append(bank.open())
            plain[keys_given[-1]] = Plain()
        elif action == "close" and alive:
            key = alive[which % len(alive)]
            bank.close(key)
            del plain[key]
        elif action == "write" and alive:
            key = alive[which % len(alive)]
            write(bank, key, number, anchor=anchor)
            plain[key].write(number, anchor, frame)
    assert len(set(keys_given)) == len(keys_given)  # no key twice
    assert len(bank) == len(plain)
    keys = sorted(plain)
    read = bank.read(keys, 4)
    for row, key in enumerate(keys):
        model = plain[key]
        newest = list(enumerate(model.ring[::-1], start=1))[: SHAPE.ring]
        assert frames_of(read, row) == {(0, value) for value in model.anchors} | set(newest)
        recent = model.pointers[-(SHAPE.pointers - SHAPE.kept_pointers) :]
        assert pointers_of(read, row) == {(frame - at, value) for value, at in [*model.kept, *recent]}
    assert not read["memory_used"][len(keys) :].any() and not read["pointer_used"][len(keys) :].any()


def test_anchors_outlive_ten_thousand_frames():
    bank = MemoryBank(SHAPE, 1)
    key = bank.open()
    for number in range(10_000):
        write(bank, key, number, anchor=number in (0, 7))
        bank.tick()
    read = bank.read([key], 1)
    assert frames_of(read, 0) == {(0, 0), (0, 7), (1, 9999), (2, 9998), (3, 9997)}
    assert pointers_of(read, 0) == {(10_000, 0), (9_993, 7), (1, 9999), (2, 9998)}


def test_nothing_grows_with_time_or_tracks():
    bank = MemoryBank(SHAPE, 4)
    sizes = {name: array.nbytes for name, array in bank._arrays().items()}
    for number in range(100):
        key = bank.open()
        write(bank, key, number)
        bank.close(key)
    assert {name: array.nbytes for name, array in bank._arrays().items()} == sizes
    per_track = sum(array[0].nbytes for name, array in bank._arrays().items() if name not in ("order", "writes"))
    assert SHAPE.bytes_per_track == pytest.approx(per_track, rel=0.2)


def test_a_closed_row_hands_nothing_to_the_next_track():
    bank = MemoryBank(SHAPE, 1)
    first = bank.open()
    write(bank, first, 5, anchor=True)
    bank.close(first)
    second = bank.open()
    assert second != first and not bank.remembers(second)
    assert not bank.read([second], 1)["memory"].any()


def test_more_tracks_than_rows_are_refused():
    bank = MemoryBank(SHAPE, 1)
    bank.open()
    with pytest.raises(ValueError, match="raise max_tracks"):
        bank.open()


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_and_change_nothing(spoil):
    bank = MemoryBank(SHAPE, 1)
    key = bank.open()
    latents, pointer = written(1)
    latents[0, 0] = spoil
    with pytest.raises(ValueError, match="not finite"):
        bank.write(key, latents)
    with pytest.raises(ValueError, match="shape"):
        bank.write(key, latents[:1])
    with pytest.raises(ValueError, match="pointer"):
        bank.point(key, pointer * spoil)
    assert not bank.remembers(key)


def test_what_is_exported_is_remembered_by_another_bank():
    one, other = MemoryBank(SHAPE, 2), MemoryBank(SHAPE, 5)
    keys = [one.open(), one.open()]
    for number in range(6):
        write(one, keys[number % 2], number, anchor=number < 3)
        one.tick()
    for _ in range(9):
        other.tick()
    restored = other.restore(one.export(keys))
    for name, array in one.read(keys, 2).items():
        np.testing.assert_array_equal(array, other.read(restored, 2)[name])


def test_what_does_not_fit_is_refused_and_changes_nothing():
    one, other = MemoryBank(SHAPE, 2), MemoryBank(SHAPE, 1)
    values = one.export([one.open(), one.open()])
    with pytest.raises(ValueError, match="do not fit"):
        other.restore(values)
    with pytest.raises(ValueError, match="latents"):
        other.restore({**values, "latents": values["latents"][..., :-1]})
    assert len(other) == 0


def test_sizes_come_from_the_students_configuration():
    config = MemoryConfig(kind="perceiver", ring=5, anchors=1, latents_global=7, latents_2d=9, width=32)
    shape = MemoryShape.of(config, 64, 48)
    assert (shape.slots, shape.tokens, shape.width, shape.pointer_width) == (6, 16, 32, 48)
    assert MemoryShape.of(MemoryConfig(kind="dense"), 64, 48).tokens == 16
