"""Surfaces: a shape with a texture, a pose in the world, and perhaps a motion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.datasets.rooms.shapes import Shape
from posesplat.datasets.rooms.textures import Texture


@dataclass(frozen=True)
class Motion:
    """A steady drift, a steady spin and a swing, in the axes that the body has at time 0."""

    velocity_m_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Drift of the body origin."""
    spin_rad_s: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Angular velocity about the body origin."""
    swing_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Amplitude of the swing of the body origin."""
    swing_period_s: float = 2.0
    """Time of one full swing."""

    def __post_init__(self) -> None:
        if not self.swing_period_s > 0:
            raise ValueError(f"Motion needs swing_period_s above 0 seconds; got {self.swing_period_s}.")

    def __call__(self, time_s: float) -> RigidTransform:
        """start_from_body: the body's pose at ``time_s`` in the body frame of time 0; the identity at time 0."""
        phase = math.sin(2.0 * math.pi * time_s / self.swing_period_s)
        shift = time_s * np.array(self.velocity_m_s) + phase * np.array(self.swing_m)
        return RigidTransform.from_components(shift, Rotation.from_rotvec(time_s * np.array(self.spin_rad_s)))


@dataclass(frozen=True, eq=False)
class Surface:
    """A shape with its texture, placed in the world."""

    shape: Shape
    """The geometry, in the body frame."""
    texture: Texture
    """Colour as a function of the point in the body frame."""
    world_from_body: RigidTransform
    """Where the body stands at time 0."""
    motion: Callable[[float], RigidTransform] | None = None
    """start_from_body as a function of seconds, usually a :class:`Motion`; None for a body at rest."""
    name: str = ""
    """What it stands for, such as ``table``."""

    def world_from_body_at(self, time_s: float) -> RigidTransform:
        """The body's pose in the world at a time in seconds."""
        return self.world_from_body if self.motion is None else self.world_from_body * self.motion(time_s)

    def transformed(self, new_from_world: RigidTransform) -> Surface:
        """The same surface in another world frame; its motion goes with it."""
        return replace(self, world_from_body=new_from_world * self.world_from_body)


def placed(
    shape: Shape,
    texture: Texture,
    centre_in_world: tuple[float, float, float],
    yaw_deg: float = 0.0,
    motion: Callable[[float], RigidTransform] | None = None,
    name: str = "",
) -> Surface:
    """A surface whose body origin is at ``centre_in_world`` (metres), turned about the world's y axis."""
    rotation = Rotation.from_euler("y", yaw_deg, degrees=True)
    world_from_body = RigidTransform.from_components(np.array(centre_in_world, dtype=np.float64), rotation)
    return Surface(shape, texture, world_from_body, motion, name)
