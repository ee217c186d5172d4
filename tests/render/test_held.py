"""A held view against the plain renderer."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import RigidTransform

from posesplat.gaussians.gaussians import Gaussians
from posesplat.geometry.cameras import Camera
from posesplat.render.cpu import CpuRenderer
from posesplat.render.held import HeldRenderer

CAMERA = Camera(100.0, 100.0, 32.0, 24.0, 64, 48)
NEAR, FAR = (RigidTransform.from_translation([shift, 0.0, 0.0]) for shift in (0.09, 0.11))


def scene() -> Gaussians:
    rng = np.random.default_rng(0)
    count = 200
    means = rng.uniform([-1, -1, 2], [1, 1, 3], (count, 3)).astype(np.float32)
    quats = np.tile(np.float32([1, 0, 0, 0]), (count, 1))
    sizes = np.full((count, 3), 0.1, np.float32)
    return Gaussians(means, quats, sizes, np.ones(count, np.float32), rng.random((count, 3), dtype=np.float32))


def test_a_view_is_held_until_the_camera_has_left_it() -> None:
    held = HeldRenderer(scene(), "rgb", held_px=10.0, threads=1)
    first = held.planes(CAMERA, RigidTransform.identity())
    assert held.planes(CAMERA, NEAR) is first  # 9 px at unit depth
    moved = held.planes(CAMERA, FAR)
    assert moved is not first
    plain = CpuRenderer(scene(), "rgb", threads=1).planes(CAMERA, FAR)
    np.testing.assert_array_equal(moved.channels, plain.channels)
    np.testing.assert_array_equal(moved.cam_from_world.as_matrix(), FAR.as_matrix())


def test_another_camera_gets_its_own_view() -> None:
    held = HeldRenderer(scene(), threads=1)
    held.planes(CAMERA, RigidTransform.identity())
    smaller = CAMERA.resized(32, 24)
    assert held.planes(smaller, RigidTransform.identity()).camera == smaller
