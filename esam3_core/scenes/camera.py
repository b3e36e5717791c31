# SPDX-License-Identifier: Apache-2.0
"""The camera's path: arcs, drifts, zooms and a little handshake, for ever and without a jump."""

from __future__ import annotations

import numpy as np

from esam3_core.config import SceneConfig
from esam3_core.scenes.meshes import FloatArray
from esam3_core.scenes.renderer import View
from esam3_core.scenes.room import Room


class CameraPath:
    """`view(t)` is a smooth function of world time in seconds."""

    def __init__(
        self, rng: np.random.Generator, config: SceneConfig, room: Room, target: FloatArray, spread: float
    ) -> None:
        """target [3]: what it looks at; spread: radius round the target that should mostly be in view, metres."""
        self._room = room
        loose = 0.0 if config.kinds else 0.35  # chosen things are kept in view
        self._target = target + rng.uniform(-1, 1, 3) * [loose * spread, loose * spread, 0.02]
        low, high = np.log(config.distance)
        self._distance = float(np.exp(rng.uniform(low, high)))
        self._distance = max(self._distance, min(1.3 * spread, config.distance[1]))
        self._fovy = rng.uniform(42, 46) if config.kinds else rng.uniform(36, 58)
        e0, e1 = np.radians(config.elevation)
        self._elevation = float(e0 + (e1 - e0) * rng.beta(1.5, 2.1))
        centre = -np.pi / 2 if room.counter else rng.uniform(0, 2 * np.pi)
        limit = np.radians(55) if room.counter else np.inf
        self._azimuth = centre + np.clip(rng.normal(0, 0.5), -limit, limit)
        swing = np.radians(rng.uniform(*config.sweep)) / 2
        self._swing = np.array(
            [
                min(swing, 0.5) if room.counter else swing,
                rng.uniform(0, 0.14),
                rng.uniform(0, 0.16),
                rng.uniform(0, 0.06),
            ]
        )
        self._rate = rng.uniform(0.25, 0.9, 8)
        self._phase = rng.uniform(0, 2 * np.pi, 8)
        self._shake = rng.uniform(0, 0.004)
        self._roll = float(rng.normal(0, 0.035))

    def view(self, t: float) -> View:
        """Where the camera is at t seconds."""
        wave = np.sin(self._rate * t + self._phase)
        azimuth = self._azimuth + self._swing[0] * wave[0]
        elevation = np.clip(self._elevation + self._swing[1] * wave[1], np.radians(7), np.radians(86))
        distance = self._distance * (1 + self._swing[2] * wave[2])
        target = self._target + self._swing[3] * np.array([wave[3], wave[4], 0.2 * wave[5]])
        shake = self._shake * np.sin(np.array([7.1, 8.3, 9.7]) * t + self._phase[:3])
        back = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
        position = target + distance * back + shake
        reach = self._room.reach
        position = np.clip(
            position, [-reach, -reach, 0.04], [reach, self._room.table[1] - 0.06 if self._room.counter else reach, 1.7]
        )
        return look_at(position, target, self._fovy, self._roll + 0.02 * wave[6])


def look_at(position: FloatArray, target: FloatArray, fovy: float, roll: float = 0.0) -> View:
    """A view from position to target, both [3]; roll in radians."""
    back = position - target
    back = back / np.linalg.norm(back)
    right = np.cross([0, 0, 1.0], back)
    right /= max(float(np.linalg.norm(right)), 1e-6)
    up = np.cross(back, right)
    c, s = np.cos(roll), np.sin(roll)
    return View(position, np.stack([c * right + s * up, c * up - s * right, back], 1), fovy)
