# SPDX-License-Identifier: Apache-2.0
"""What happens in a world: hands that pass, take and bring things, and pushes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from esam3_core.scenes.meshes import FloatArray
from esam3_core.scenes.models import Thing
from esam3_core.scenes.movers import yawed

PARKED = np.array([0.0, 0.0, -30.0])


@dataclass(frozen=True)
class Pass:
    """One reach of a mover: when, towards which point, from which side, and what it takes or brings (-1: nothing)."""

    start: float
    duration: float
    target: FloatArray
    yaw: float
    pitch: float
    takes: int = -1
    brings: int = -1


class MoverPlan:
    """Endless reaches of one hand or gripper; where it is follows from the time alone, what it takes from the table."""

    def __init__(self, rng: np.random.Generator, spread: float, pause: tuple[float, float], takes: float) -> None:
        self._rng = rng
        self._spread = spread
        self._pause = pause
        self._takes = takes
        self._side = rng.uniform(0, 2 * np.pi)
        self.now = Pass(rng.uniform(-2.0, 0.5), 0.001, np.zeros(3), 0.0, 0.0)
        self.away = -1

    def advance(self, t: float, things: list[Thing], places: FloatArray) -> FloatArray:
        """Pose (x, y, z, quaternion) [7] at time t; plans the next reach when one is over."""
        while t > self.now.start + self.now.duration:
            self._plan(things, places)
        s = (t - self.now.start) / self.now.duration
        if s < 0:
            return np.array([*PARKED, 1, 0, 0, 0])
        near = np.sin(np.pi * np.clip(s, 0, 1)) ** 0.8
        towards = np.array([np.cos(self.now.yaw), np.sin(self.now.yaw), 0.0])
        sideways = np.array([-towards[1], towards[0], 0.0]) * 0.08 * (s - 0.5)
        position = self.now.target - towards * 1.15 * (1 - near) + sideways + [0, 0, 0.12 * (1 - near)]
        return np.array([*position, *yawed(self.now.yaw, self.now.pitch)])

    def holds(self, t: float) -> int:
        """Number of the thing in the hand at time t, or -1."""
        s = (t - self.now.start) / self.now.duration
        if self.now.takes >= 0 and s >= 0.5:
            return self.now.takes
        if self.now.brings >= 0 and s < 0.5:
            return self.now.brings
        return -1

    def _plan(self, things: list[Thing], places: FloatArray) -> None:
        rng = self._rng
        if self.now.takes >= 0:
            self.away = self.now.takes
        elif self.now.brings >= 0:
            self.away = -1
        start = self.now.start + self.now.duration + rng.uniform(*self._pause)
        duration = rng.uniform(1.6, 3.6)
        yaw = self._side + rng.normal(0, 0.5)
        takes = brings = -1
        spot = np.array([*rng.uniform(-self._spread, self._spread, 2), rng.uniform(0.07, 0.26)])
        if self.away >= 0:
            brings = self.away
            spot[2] = things[brings].height + 0.03
        elif rng.random() < self._takes:
            near = [i for i, t in enumerate(things) if t.kind and abs(places[i, 2]) < 0.02 and t.radius < 0.09]
            if near:
                takes = near[int(rng.integers(len(near)))]
                spot = np.array([*places[takes, :2], things[takes].height + 0.03])
        self.now = Pass(start, duration, spot, yaw, rng.uniform(0.0, 0.5), takes, brings)


class Pushes:
    """Pushes at random times: (thing, velocity) pairs."""

    def __init__(self, rng: np.random.Generator, every: float, speed: tuple[float, float]) -> None:
        self._rng, self._every, self._speed = rng, every, speed
        self._next = rng.exponential(every)

    def due(self, t: float, things: list[Thing], places: FloatArray) -> list[tuple[int, FloatArray]]:
        """Pushes between the last call and t; they lead towards the middle of the table."""
        out = []
        while t >= self._next:
            self._next += self._rng.exponential(self._every) + 0.3
            standing = [i for i in range(len(things)) if abs(places[i, 2]) < 0.1]
            if not standing:
                continue
            i = standing[int(self._rng.integers(len(standing)))]
            inward = -places[i, :2] + self._rng.normal(0, 0.15, 2)
            inward /= max(float(np.hypot(*inward)), 1e-6)
            out.append((i, np.array([*inward, 0.0]) * self._rng.uniform(*self._speed)))
        return out
