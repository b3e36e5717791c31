# SPDX-License-Identifier: Apache-2.0
"""From things to a MuJoCo model: meshes, textures, materials, bodies, lights."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import ArrayLike

from esam3_core.scenes.meshes import Mesh
from esam3_core.scenes.models import Look, Part, Thing

VISIBLE_GROUP, COLLISION_GROUP = 0, 3
_SHAPES = {
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "ellipsoid": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}


class Assembly:
    """Collects a scene in an MjSpec; `compile` gives the model."""

    def __init__(self, width: int, height: int, shadow_size: int) -> None:
        self.spec = mujoco.MjSpec()
        spec = self.spec
        spec.option.timestep = 0.004
        spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        spec.option.iterations, spec.option.ls_iterations = 8, 8
        spec.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
        spec.visual.global_.offwidth, spec.visual.global_.offheight = width, height
        spec.visual.quality.shadowsize, spec.visual.quality.offsamples = shadow_size, 0
        spec.visual.map.znear, spec.visual.map.zfar = 0.02, 14.0
        spec.visual.map.shadowclip, spec.visual.map.shadowscale = 0.75, 0.8
        spec.stat.extent, spec.stat.center, spec.stat.meansize = 1.0, [0, 0, 0.1], 0.1
        spec.worldbody.add_camera(name="view")
        self._count = 0

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def material(self, look: Look) -> str:
        """Register a look; returns the material's name."""
        name = self._name("material")
        material = self.spec.add_material(
            name=name, rgba=[*look.rgb.tolist(), look.alpha], specular=look.specular, shininess=look.shininess
        )
        if look.texture is not None:
            picture = np.ascontiguousarray(look.texture)
            texture = self._name("texture")
            holder = self.spec.add_texture(
                name=texture,
                type=mujoco.mjtTexture.mjTEXTURE_2D,
                width=picture.shape[1],
                height=picture.shape[0],
                nchannel=3,
            )
            holder.data = picture.tobytes()
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture
        return name

    def mesh(self, mesh: Mesh) -> str:
        """Register a mesh; returns its name."""
        name = self._name("mesh")
        self.spec.add_mesh(
            name=name,
            uservert=mesh.vertices.astype(np.float32).ravel(),
            usernormal=mesh.normals.astype(np.float32).ravel(),
            usertexcoord=mesh.uv.astype(np.float32).ravel(),
            userface=mesh.faces.ravel(),
            userfacenormal=mesh.faces.ravel(),
            userfacetexcoord=mesh.faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
        return name

    def show(
        self,
        body: mujoco.MjsBody,
        part: Part,
        pos: ArrayLike = (0, 0, 0),
        quat: ArrayLike = (1, 0, 0, 0),
        shadow: bool = True,
    ) -> None:
        """Hang a part that physics does not see on a body; shadow: whether it throws one."""
        geom = body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=self.mesh(part.mesh),
            material=self.material(part.look),
            pos=np.asarray(pos, float),
            quat=np.asarray(quat, float),
            contype=0,
            conaffinity=0,
            group=VISIBLE_GROUP,
            mass=0,
        )
        if hasattr(geom, "castshadow"):  # since MuJoCo 4; before that the table's own shadow may speckle it
            geom.castshadow = shadow

    def solid(self, size: ArrayLike, pos: ArrayLike) -> None:
        """An invisible, immovable box of full size (x, y, z)."""
        self.spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=np.asarray(size, float) / 2,
            pos=np.asarray(pos, float),
            group=COLLISION_GROUP,
            contype=1,
            conaffinity=1,
            friction=[0.55, 0.01, 0.002],
        )

    def thing(self, thing: Thing, name: str) -> None:
        """A free body; its place is set in qpos later."""
        body = self.spec.worldbody.add_body(name=name, pos=[0, 0, -30])
        body.add_freejoint(name=name)
        r, h = max(thing.radius, 0.015), max(thing.height, 0.02)
        body.explicitinertial, body.mass = True, thing.mass
        body.ipos = [0, 0, thing.height * 0.45]
        side = thing.mass * (3 * r * r + h * h) / 12
        body.inertia = [side, side, thing.mass * r * r / 2]
        for part in thing.parts:
            self.show(body, part)
        roll = 0.004 if thing.rolls else 0.001
        for c in thing.colliders:
            body.add_geom(
                type=_SHAPES[c.shape],
                size=[*c.size, *([0.0] * (3 - len(c.size)))],
                pos=c.pos,
                quat=c.quat,
                group=COLLISION_GROUP,
                contype=1,
                conaffinity=1,
                friction=[0.5, 0.01, roll],
                condim=6 if thing.rolls else 4,
                mass=0,
                solref=[0.012, 1.0],
            )

    def mover(self, parts: list[Part], name: str) -> None:
        """A body whose place is prescribed (a hand, a robot's gripper)."""
        body = self.spec.worldbody.add_body(name=name, mocap=True, pos=[0, 0, -30])
        for part in parts:
            self.show(body, part)

    def compile(self) -> mujoco.MjModel:
        """The model.

        Raises:
            ValueError: when MuJoCo rejects the scene.
        """
        return self.spec.compile()
