"""Derivatives that the kernels return against differences of the float64 twin: central ones, and complex steps."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from kernels import twin
from kernels.clouds import CAMERA, POSE, random_cloud
from posesplat.kernels.splatting import render

STEP = 1e-6


def relative_errors(actual: np.ndarray, expected: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Errors over the size of the whole derivative at the pixel, where there is one."""
    size = np.linalg.norm(expected.reshape(*seen.shape, -1), axis=-1)
    error = np.linalg.norm((actual - expected).reshape(*seen.shape, -1), axis=-1)
    used = seen & (size > 1e-3 * np.median(size[seen]))
    return error[used] / size[used]


@functools.cache
def depth_by_pose(growth: float) -> np.ndarray:
    cloud = random_cloud(growth=growth)

    def at(tangent: np.ndarray) -> np.ndarray:
        return twin.render(cloud, CAMERA, RigidTransform.from_exp_coords(tangent) * POSE).depth

    return np.stack([(at(STEP * axis) - at(-STEP * axis)) / (2 * STEP) for axis in np.eye(6)], axis=-1)


@functools.cache
def channels_by_shift(growth: float, layer: float) -> np.ndarray:
    return twin.channel_gradients(random_cloud(growth=growth), CAMERA, POSE, layer=layer)


@pytest.mark.parametrize("growth", [1.0, 5.0])
def test_expected_depth_by_pose(instruction_set: str, growth: float) -> None:
    """Exact with the covariance term, which matters for large splats. Cut-offs may make 1 pixel in 100 jump."""
    cloud = random_cloud(growth=growth)
    view = render(cloud.scene(), CAMERA, POSE, jacobian=True)
    errors = relative_errors(view.jacobian, depth_by_pose(growth), view.alpha > 0)
    assert len(errors) > 1000
    assert np.median(errors) < 1e-5
    assert np.percentile(errors, 99) < 2e-3


@pytest.mark.parametrize("layer", [0.0, 0.1])
@pytest.mark.parametrize("growth", [1.0, 5.0])
def test_channels_by_shift(instruction_set: str, growth: float, layer: float) -> None:
    cloud = random_cloud(growth=growth)
    view = render(cloud.scene(), CAMERA, POSE, planes=True, channels=True, gradients=True, layer=layer)
    errors = relative_errors(view.gradients, channels_by_shift(growth, layer), view.alpha > 0)
    assert len(errors) > 1000
    assert np.median(errors) < 1e-5
    assert np.percentile(errors, 99) < 1e-3
