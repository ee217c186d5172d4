"""COLMAP's two-view geometry as a rival: exact matches give the exact pose."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.two_view_colmap import colmap_relative_pose
from posesplat.geometry.cameras import Camera
from posesplat.geometry.frame import Frame
from posesplat.geometry.matches import Matches

pytest.importorskip("pycolmap")
A, B = Camera(300.0, 310.0, 160.5, 118.0, 320, 240), Camera(400.0, 390.0, 200.0, 148.0, 400, 300)


def test_exact_matches_with_outliers_give_the_true_pose_and_direction() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform([-1.5, -1.0, 2.0], [1.5, 1.0, 6.0], (150, 3))
    true = RigidTransform.from_components([0.4, -0.1, 0.2], Rotation.from_rotvec([0.05, -0.1, 0.03]))
    first, second = A.project(points), B.project(true.apply(points))
    second[:20] = rng.uniform(0, 300, (20, 2))
    matches = Matches(first, second, np.ones(150))
    frames = [Frame(camera, np.zeros((camera.height, camera.width, 3), np.uint8), None, "x") for camera in (A, B)]
    found = colmap_relative_pose(matches, *frames)
    assert found is not None
    assert (found.rotation * true.rotation.inv()).magnitude() < 1e-4
    np.testing.assert_allclose(found.translation, true.translation / np.linalg.norm(true.translation), atol=1e-3)
    assert colmap_relative_pose(matches.select(np.arange(150) < 7), *frames) is None
