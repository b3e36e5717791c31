# SPDX-License-Identifier: Apache-2.0
"""A tabletop world that can be stepped for ever: frames with ids, depth, phrases. Same seed and config, same bytes."""

from __future__ import annotations

from typing import Any

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from esam3_core.config import SceneConfig
from esam3_core.scenes import movers
from esam3_core.scenes.assembly import Assembly
from esam3_core.scenes.camera import CameraPath
from esam3_core.scenes.events import PARKED, MoverPlan, Pushes
from esam3_core.scenes.frame import Instance, SceneFrame
from esam3_core.scenes.layout import draw_things, place
from esam3_core.scenes.meshes import FloatArray
from esam3_core.scenes.models import Thing
from esam3_core.scenes.renderer import Renderer, View
from esam3_core.scenes.room import Room, furnish, illuminate
from esam3_core.scenes.sensor import Sensor, corner_shading
from esam3_core.scenes.truth import absent_phrases, phrases_of, size_phrases

_SPLIT_STREAM = {"train": 0, "held_out": 1, "wide": 2}
_STILL = (
    (-0.25, -0.25),
    (0.25, 0.25),
)  # pixels: a full-quality frame is the mean of pictures so shifted, for smooth edges
_BLURRED = (*_STILL, (0.25, -0.25), (-0.25, 0.25))  # the same where the mean also makes motion blur
_SETTLE = 0.6  # s
_BUILD_TRIES = 5


def demo_config(width: int = 640, height: int = 480, fps: float = 30.0) -> SceneConfig:
    """A live camera for demonstrations: cups and mugs of a good size, a gentle arc, an arm now and then, a push."""
    return SceneConfig(
        width=width,
        height=height,
        fps=fps,
        quality="fast",
        kinds=("mug", "cup", "mug", "cup", "bowl", "bottle", "book", "apple"),
        distractors=(1, 1),
        distance=(0.78, 0.84),
        elevation=(32, 42),
        sweep=(22, 30),
        movers=1.0,
        kicks=1.0,
        toppled=0.0,
        imperfect=False,
    )


class World:
    """One tabletop world. `step` renders the next frame, 1 / config.fps seconds after the last.

    Args:
        seed: any int from 0; with the split it decides everything. The splits never share a world.
        config: size, rate and content.
    """

    def __init__(self, seed: int, config: SceneConfig) -> None:
        self.seed, self.config = seed, config
        for attempt in range(_BUILD_TRIES):
            try:
                self._build(np.random.default_rng([_SPLIT_STREAM[config.split], seed, attempt]))
                return
            except ValueError:
                if attempt == _BUILD_TRIES - 1:
                    raise

    def _build(self, rng: np.random.Generator) -> None:
        config = self.config
        fast = config.quality == "fast"
        assembly = Assembly(config.width, config.height, 256 if fast else 512)
        self.things: list[Thing] = draw_things(rng, config)
        room = furnish(rng, config.surroundings, assembly, fast)
        self._lights = illuminate(rng, assembly, fast)
        for i, thing in enumerate(self.things):
            assembly.thing(thing, f"thing{i}")
        self._plans: list[MoverPlan] = []
        if rng.random() < config.movers:
            for k in range(1 if config.kinds else int(rng.integers(1, 3))):
                maker = movers.hand if rng.random() < 0.65 else movers.gripper
                assembly.mover(maker(rng, config.surroundings), f"mover{k}")
                pause = (2.5, 5.0) if config.kinds else (0.0, 1.5)
                self._plans.append(MoverPlan(rng, 0.18, pause, 0.0 if config.kinds else 0.45))
        self.model = assembly.compile()
        self.data = mujoco.MjData(self.model)
        self._address = np.array(
            [self.model.jnt_qposadr[self.model.joint(f"thing{i}").id] for i in range(len(self.things))], int
        )
        self._speed = np.array(
            [self.model.jnt_dofadr[self.model.joint(f"thing{i}").id] for i in range(len(self.things))], int
        )
        self._map_geoms()
        for i, spot in enumerate(place(rng, self.things, room.table, config)):
            self.data.qpos[self._address[i] : self._address[i] + 7] = spot
        speed = (0.12, 0.3) if config.kinds else (0.2, 0.7)
        self._pushes = Pushes(rng, 6.0 if config.kinds else 1.5, speed) if rng.random() < config.kicks else None
        self._sensor = Sensor(rng, config.imperfect, config.width)
        self._exposure = rng.uniform(0.01, 0.045) if rng.random() < 0.35 and config.imperfect else 0.0
        self._rng = rng
        self._settle()
        self._camera = self._aim(rng, room)
        self._frame = 0
        self._gain = 0.0  # set by the first fast frame
        self._soft: Any = None  # shadows of the last fast frame, float32 [H, W, 3]
        self._renderer = Renderer(self.model, config.width, config.height)

    def _map_geoms(self) -> None:
        """Geom number -> object id, and the visible geoms of each object."""
        self._id_of_geom = np.zeros(self.model.ngeom + 1, np.uint16)  # the last entry stands for "no geom" (-1)
        self._owner_of_geom = np.append(self.model.geom_bodyid, 0).astype(
            np.int32
        )  # body: 0 room, 1.. things, then movers
        self._geoms: list[NDArray[np.int32]] = []
        for i, thing in enumerate(self.things):
            body = self.model.body(f"thing{i}").id
            mine = np.flatnonzero((self.model.geom_bodyid == body) & (self.model.geom_group == 0)).astype(np.int32)
            self._geoms.append(mine)
            if thing.kind is not None:
                self._id_of_geom[mine] = i + 1

    def _aim(self, rng: np.random.Generator, room: Room) -> CameraPath:
        places = self._places()
        points = places[places[:, 2] > -0.1] if len(places) else np.zeros((1, 3))
        points = points if len(points) else np.zeros((1, 3))
        middle = (points[:, :2].min(0) + points[:, :2].max(0)) / 2 if self.config.kinds else points[:, :2].mean(0)
        spread = float(np.quantile(np.hypot(*(points[:, :2] - middle).T), 0.7)) if len(points) > 1 else 0.1
        return CameraPath(rng, self.config, room, np.array([*middle, 0.05]), spread)

    def _places(self) -> FloatArray:
        """Where each thing is [N, 3]."""
        return np.array([self.data.qpos[a : a + 3] for a in self._address]).reshape(-1, 3)

    def _settle(self) -> None:
        for _ in range(3):
            mujoco.mj_step(self.model, self.data, nstep=int(_SETTLE / 3 / self.model.opt.timestep))
            self.data.qvel[:] *= 0.2
        self.data.qvel[:] = 0
        self.data.time = 0.0

    def _advance(self, t: float) -> None:
        """Run physics and events up to world time t."""
        step = 0.02 if self.config.quality == "full" else 0.034
        while self.data.time < t - 1e-9:
            until = min(self.data.time + step, t)
            self._act(self.data.time)
            count = max(round((until - self.data.time) / self.model.opt.timestep), 1)
            mujoco.mj_step(self.model, self.data, nstep=count)
        self._act(self.data.time)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _act(self, t: float) -> None:
        places = self._places()
        held = []
        for k, plan in enumerate(self._plans):
            pose = plan.advance(t, self.things, places)
            self.data.mocap_pos[k], self.data.mocap_quat[k] = pose[:3], pose[3:]
            i = plan.holds(t)
            if i >= 0:
                held.append(i)
                self._put(i, pose[:3] - np.array([0, 0, self.things[i].height + 0.015]))
            elif plan.away >= 0:
                held.append(plan.away)
                self._put(plan.away, PARKED)
        for i in range(len(self.things)):
            if i not in held and places[i, 2] < -0.6:  # it fell off the table: back onto it
                self._put(i, np.array([*self._rng.uniform(-0.25, 0.25, 2), 0.03]))
        for i, velocity in self._pushes.due(t, self.things, places) if self._pushes else ():
            if i not in held:
                self.data.qvel[self._speed[i] : self._speed[i] + 3] = velocity

    def _put(self, i: int, position: FloatArray) -> None:
        self.data.qpos[self._address[i] : self._address[i] + 3] = position
        self.data.qvel[self._speed[i] : self._speed[i] + 6] = 0

    def step(self) -> SceneFrame:
        """The next frame with its truth; ids stay the same for ever."""
        t = self._frame / self.config.fps
        self._frame += 1
        if self.config.quality == "full":
            image, numbers, depth, view = self._full(t)
        else:
            image, numbers, depth, view = self._fast(t)
        ids = self._id_of_geom[numbers]
        return SceneFrame(
            image,
            depth,
            ids,
            view.intrinsics(self.config.width, self.config.height),
            self._instances(ids, numbers, depth, view),
            t,
            absent_phrases(np.random.default_rng([self.seed, self._frame]), self.things, self.config.surroundings),
        )

    def _fast(self, t: float) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.float32], View]:
        size = (self.config.width, self.config.height)
        self._advance(t)
        view = self._camera.view(t)
        bare = self._renderer.colour(self.data, view, shadows=False)
        if not self._gain:
            self._gain = float(np.clip(115 / max(bare.mean(), 1), 1.0, 1.6))  # what a camera's exposure does
        if self._soft is None or self._frame % 2:  # shadows cost a third of a frame: two frames share them
            self._soft = cv2.merge([cv2.resize(cv2.blur(self._renderer.shadow(self.data, view, 4), (2, 2)), size)] * 3)
        picture = cv2.multiply(bare, self._soft, scale=self._gain, dtype=cv2.CV_8U)
        small, near = self._renderer.geoms(self.data, view, 2)
        numbers = cv2.resize(small, size, interpolation=cv2.INTER_NEAREST)
        depth = cv2.resize(near, size, interpolation=cv2.INTER_NEAREST)
        return np.asarray(picture, np.uint8), np.asarray(numbers, np.int32), np.asarray(depth, np.float32), view

    def _full(self, t: float) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.float32], View]:
        config = self.config
        total = np.zeros((config.height, config.width, 3), np.float32)
        shifts = _BLURRED if self._exposure else _STILL
        middle = len(shifts) // 2
        for k, shift in enumerate(shifts):
            moment = t + self._exposure * k / len(shifts)
            self._advance(moment)
            view = self._camera.view(moment)
            total += self._renderer.colour(self.data, view, shift, shadows=False)
            if k == middle:
                numbers, depth = self._renderer.geoms(self.data, view)
                shadow = self._renderer.shadow(self.data, view, 2)
                truth_view = view
        blurred = cv2.GaussianBlur(shadow, (0, 0), self._lights.softness)
        soft = np.asarray(cv2.resize(blurred, (config.width, config.height)), np.float32)
        light = soft * corner_shading(depth, self._sensor.shading) / np.float32(255 * len(shifts))
        return self._sensor.develop(total * light[..., None], depth), numbers, depth, truth_view

    def _instances(
        self, ids: NDArray[np.uint16], numbers: NDArray[np.int32], depth: NDArray[np.float32], view: View
    ) -> list[Instance]:
        counts = np.bincount(ids.ravel())
        present = [int(i) for i in np.flatnonzero(counts) if i > 0]
        areas = {i: int(counts[i]) for i in present}
        boxes = {i: _box((ids == i).view(np.uint8)) for i in present}
        sizes = size_phrases([self.things[i - 1] for i in present], [max(boxes[i][2:]) for i in present])
        out = []
        for i, extra in zip(present, sizes, strict=True):
            thing = self.things[i - 1]
            assert thing.kind is not None
            alone = (
                self._renderer.alone(self.data, view, self._geoms[i - 1], 4 if self.config.quality == "fast" else 2)
                if self._maybe_hidden(i, numbers, depth, boxes[i])
                else 0
            )
            visible = min(areas[i] / max(alone, areas[i], 1), 1.0)
            out.append(
                Instance(
                    i,
                    thing.kind,
                    phrases_of(thing) + extra,
                    boxes[i],
                    round(visible, 3),
                    areas[i],
                )
            )
        return out

    def _maybe_hidden(
        self, i: int, numbers: NDArray[np.int32], depth: NDArray[np.float32], box: tuple[int, int, int, int]
    ) -> bool:
        """Whether something that moves adjoins object i and is nearer; only then its full size must be rendered."""
        x, y, w, h = box
        patch = np.s_[max(y - 2, 0) : y + h + 2, max(x - 2, 0) : x + w + 2]
        owner = self._owner_of_geom[numbers[patch]]
        mine = owner == i
        kernel = np.ones((5, 5), np.uint8)
        ring = cv2.dilate(mine.astype(np.uint8), kernel).astype(bool) & ~mine & (owner > 0)
        if not ring.any():
            return False
        reach = cv2.dilate(np.where(mine, depth[patch], 0), kernel)
        return bool((depth[patch][ring] < reach[ring]).any())

    def close(self) -> None:
        """Free what the world holds in OpenGL."""
        self._renderer.close()


def _box(mask: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    x, y, w, h = cv2.boundingRect(mask)
    return int(x), int(y), int(w), int(h)
