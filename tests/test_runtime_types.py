"""The shape checks that pytest switches on (pyproject.toml) are really on, and off outside the tests."""

from __future__ import annotations

import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from posesplat.geometry.cameras import Camera
from posesplat.geometry.poses import exp, skew
from posesplat.geometry.trajectory import Trajectory

CAMERA = Camera(100.0, 100.0, 50.0, 50.0, 100, 100)


def test_a_wrong_shape_is_an_error() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="points_in_cam"):
        CAMERA.project(np.zeros((3, 2)))
    with pytest.raises(jaxtyping.TypeCheckError, match="tangent"):
        exp(np.zeros(5))


def test_a_wrong_type_is_an_error() -> None:
    with pytest.raises(jaxtyping.TypeCheckError, match="vector"):
        skew([1.0, 2.0, 3.0])


def test_an_int_passes_for_a_float() -> None:
    assert Trajectory.from_poses([RigidTransform.identity()], [7]).timestamps[0] == 7.0


def test_users_do_not_pay_for_the_checks() -> None:
    code = "import numpy as np; from posesplat.geometry.poses import skew; print(skew([1.0, 2.0, 3.0]).shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(3, 3)\n"
