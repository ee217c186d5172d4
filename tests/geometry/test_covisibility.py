from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera
from posesplat.geometry.covisibility import covisible

CAMERA = Camera(100.0, 100.0, 50.0, 40.0, 100, 80)
WALL = np.full((80, 100), 2.0, np.float32)


@pytest.mark.parametrize("columns", [0, 10, 35, 100])
def test_a_camera_that_moves_along_a_wall_loses_as_many_columns_as_it_moves(columns: int) -> None:
    # A point at depth 2 moves by 100 * shift / 2 pixels.
    shift = RigidTransform.from_translation([-2.0 * columns / 100, 0, 0])
    found = covisible(WALL, CAMERA, WALL, CAMERA, shift)
    assert found.known.all()
    assert found.share == pytest.approx(1 - columns / 100)
    assert not found.seen[:, :columns].any()
    assert found.seen[:, columns:].all()


def test_what_stands_behind_something_is_hidden_and_what_lacks_depth_is_unknown() -> None:
    other, mine = WALL.copy(), WALL.copy()
    other[:, :30] = 1.0
    other[:, 30:50] = 0.0
    mine[:, 90:] = 0.0
    found = covisible(mine, CAMERA, other, CAMERA, RigidTransform.identity())
    assert not found.seen[:, :50].any()
    assert found.seen[:, 50:90].all()
    np.testing.assert_array_equal(
        found.known.all(axis=0), (np.arange(100) < 30) | ((np.arange(100) >= 50) & (np.arange(100) < 90))
    )
    assert found.share == pytest.approx(40 / 70)
