"""Two noise-free views of a synthetic room as sets of flattened Gaussians."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.datasets.rooms import furnished_room
from posesplat.gaussians.flat_gaussians import FlatGaussians, lift_flat
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.poses import perturbed

CAMERA_A = Camera(260.0, 260.0, 160.0, 120.0, 320, 240)
CAMERA_B = Camera(230.0, 235.0, 140.0, 118.0, 288, 232)
"""Of another lens and size."""


@cache
def room_frames() -> tuple[Frame, Frame, RigidTransform]:
    """Frames a and b, and the true b_from_a: 14 degrees and 0.26 m."""
    room = furnished_room(2)
    first = room.default_view
    second = perturbed(first, np.array([0.05, -0.22, 0.08, 0.2, 0.06, -0.15]))
    return room.render(CAMERA_A, first), room.render(CAMERA_B, second), second * first.inv()


@cache
def room_sets() -> tuple[FlatGaussians, FlatGaussians, RigidTransform]:
    a, b, b_from_a = room_frames()
    return lift_flat(a), lift_flat(b), b_from_a
