# SPDX-License-Identifier: Apache-2.0
"""Off-screen pictures of a MuJoCo model: colour, depth and geom ids from one camera.

One OpenGL context is kept per process (making one costs about 150 ms in software); each model gets its own MjrContext.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from mujoco import gl_context
from numpy.typing import NDArray

from esam3_core.scenes.assembly import VISIBLE_GROUP

FloatArray = NDArray[np.float64]
_shared: list[Any] = []


@dataclass(frozen=True)
class View:
    """A pinhole camera: place [3], rotation [3, 3] (columns: right, up, backward), vertical angle in degrees."""

    position: FloatArray
    rotation: FloatArray
    fovy: float

    def intrinsics(self, width: int, height: int) -> dict[str, float]:
        """fx, fy, cx, cy in pixels, for square pixels."""
        f = height / 2 / np.tan(np.radians(self.fovy) / 2)
        return {"fx": round(float(f), 3), "fy": round(float(f), 3), "cx": width / 2, "cy": height / 2}

    def project(self, points: FloatArray, width: int, height: int) -> tuple[FloatArray, FloatArray]:
        """World points [N, 3] -> pixels [N, 2] and depth [N] in metres."""
        local = (points - self.position) @ self.rotation
        depth = -local[:, 2]
        f = height / 2 / np.tan(np.radians(self.fovy) / 2)
        safe = np.maximum(depth, 1e-3)
        return np.stack([width / 2 + f * local[:, 0] / safe, height / 2 - f * local[:, 1] / safe], 1), depth


class DisplayError(OSError):
    """There is no OpenGL to draw with."""


_NO_OPENGL = (
    "cannot draw off-screen: install libegl1 and libgl1-mesa-dri (or libosmesa6 and set MUJOCO_GL=osmesa), "
    "and import esam3_core.scenes before mujoco"
)


def _make_current() -> None:
    if not _shared:
        try:
            _shared.append(gl_context.GLContext(64, 64))
        except Exception as error:  # each back end raises errors of its own
            raise DisplayError(_NO_OPENGL) from error
    _shared[0].make_current()


class Renderer:
    """Draws one model at width x height."""

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        self.model, self.width, self.height = model, width, height
        _make_current()
        try:
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except mujoco.FatalError as error:
            raise DisplayError(_NO_OPENGL) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 32)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = 0
        self._option.geomgroup[VISIBLE_GROUP] = 1
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = 0

    def _update(self, data: mujoco.MjData, view: View, shift: tuple[float, float] = (0.0, 0.0)) -> None:
        data.cam_xpos[0] = view.position
        data.cam_xmat[0] = view.rotation.ravel()
        self.model.cam_fovy[0] = view.fovy
        mujoco.mjv_updateScene(
            self.model, data, self._option, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        near = self._scene.camera[0].frustum_near
        pixel = 2 * near * np.tan(np.radians(view.fovy) / 2) / self.height
        for camera in self._scene.camera:
            camera.frustum_center += shift[0] * pixel
            camera.frustum_bottom += shift[1] * pixel
            camera.frustum_top += shift[1] * pixel

    def colour(
        self,
        data: mujoco.MjData,
        view: View,
        shift: tuple[float, float] = (0.0, 0.0),
        shadows: bool = True,
        scale: int = 1,
    ) -> NDArray[np.uint8]:
        """Picture uint8 [H/scale, W/scale, 3], seen with the image plane moved by a shift in pixels (right, up)."""
        _make_current()
        self._update(data, view, shift)
        return self._draw(shadows, scale)

    def _draw(self, shadows: bool, scale: int) -> NDArray[np.uint8]:
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        rect = mujoco.MjrRect(0, 0, self.width // scale, self.height // scale)
        mujoco.mjr_render(rect, self._scene, self._context)
        picture = np.empty((rect.height, rect.width, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, rect, self._context)
        return picture[::-1]

    def shadow(self, data: mujoco.MjData, view: View, scale: int) -> NDArray[np.float32]:
        """How much light shadows leave, 0..1, float32 [H/scale, W/scale].

        Shadow maps make every pixel dear in software, so they are drawn small and laid over the picture afterwards,
        which also softens their edges.
        """
        _make_current()
        self._update(data, view)
        lit = self._draw(False, scale).astype(np.float32).sum(-1)
        dim = self._draw(True, scale).astype(np.float32).sum(-1)
        return np.clip((dim + 12) / (lit + 12), 0.15, 1.0)

    def geoms(self, data: mujoco.MjData, view: View, scale: int = 1) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Geom number (-1: nothing) int32 and depth in metres float32, both [H/scale, W/scale]."""
        _make_current()
        self._update(data, view)
        return self._segment(scale)

    def _segment(self, scale: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = True
        w, h = self.width // scale, self.height // scale
        rect = mujoco.MjrRect(0, 0, w, h)
        mujoco.mjr_render(rect, self._scene, self._context)
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = False
        code, raw = np.empty((h, w, 3), np.uint8), np.empty((h, w), np.float32)
        mujoco.mjr_readPixels(code, raw, rect, self._context)
        number = code[..., 0].astype(np.int32) + (code[..., 1].astype(np.int32) << 8)
        table = np.full(self._scene.ngeom + 2, -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0:
                table[geom.segid + 1] = geom.objid
        near = np.float32(self.model.vis.map.znear * self.model.stat.extent)
        far = np.float32(self.model.vis.map.zfar * self.model.stat.extent)
        depth = near * far / (near + raw * (far - near))
        return table[number][::-1], np.ascontiguousarray(depth[::-1])

    def alone(self, data: mujoco.MjData, view: View, geoms: NDArray[np.int32], scale: int) -> int:
        """Pixels (of the full-size picture) that these geoms cover when nothing else is there."""
        _make_current()
        groups = self.model.geom_group
        kept = groups[geoms].copy()
        groups[geoms] = 5
        self._option.geomgroup[VISIBLE_GROUP], self._option.geomgroup[5] = 0, 1
        self._update(data, view)
        self._option.geomgroup[VISIBLE_GROUP], self._option.geomgroup[5] = 1, 0
        groups[geoms] = kept
        numbers, _ = self._segment(scale)
        return int((numbers >= 0).sum()) * scale * scale

    def close(self) -> None:
        """Free the model's textures and meshes in OpenGL."""
        if self._context is not None:
            _make_current()
            self._context.free()
            self._context = None
