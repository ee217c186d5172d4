"""Noise levels read off residuals: known noise on walls with a formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from align.walls import CAMERA, WALL_Z, query, texture, wall_depth, wall_view
from posesplat.align.noise import (
    DepthNoise,
    channel_noise,
    channel_residuals,
    depth_noise,
    depth_residuals,
    spurious_information,
)
from posesplat.kernels.splatting import View

MOVED = RigidTransform.from_exp_coords([0.03, -0.05, 0.02, 0.1, -0.05, 0.08])
IDENTITY = RigidTransform.identity()


def test_depth_residuals_vanish_at_the_true_pose() -> None:
    residuals, depths = depth_residuals(wall_view(), query(wall_depth(MOVED)), MOVED, 1, gate=1e-3)
    assert len(residuals) > 0.8 * CAMERA.width * CAMERA.height
    np.testing.assert_allclose(residuals, 0.0, atol=2e-6)
    # Depths are those of the map's surface along the query's rays.
    assert set(np.round(depths, 4)) <= set(np.round(wall_depth(MOVED).astype(np.float32).ravel(), 4))


@pytest.mark.parametrize("step", [1, 4])
def test_depth_residuals_are_signed_distances_to_the_plane(step: int) -> None:
    """Measured 2 cm too near along a slanted ray is 2 cm of depth, and 2 cm off a frontal wall."""
    residuals, depths = depth_residuals(wall_view(), query(wall_depth(IDENTITY) - 0.02), IDENTITY, step, gate=1e-3)
    np.testing.assert_allclose(residuals, 0.02, atol=1e-6)
    np.testing.assert_allclose(depths, WALL_Z, rtol=1e-6)
    assert len(residuals) == (CAMERA.width // step) * (CAMERA.height // step)


def test_depth_residuals_leave_out_missing_uncovered_and_mixed_pixels() -> None:
    depth = wall_depth(IDENTITY)
    depth[:, :40] = 0.0
    view = wall_view()
    view.alpha[:, 40:60] = 0.4
    assert view.variance is not None
    view.variance[:, 60:70] = 2e-3
    residuals, _ = depth_residuals(view, query(depth), IDENTITY, 1, gate=1e-3)
    assert len(residuals) == (160 - 70) * 120


@pytest.mark.parametrize("yaw_deg", [0.0, 0.05, 1.0, 20.0])
def test_sensor_noise_on_a_wall_is_recovered(yaw_deg: float) -> None:
    """Noise in proportion to the depth is the same everywhere along the wall's normal.

    Facing the wall, all depths are equal and say nothing about growth.
    """
    rng = np.random.default_rng(4)
    pose = RigidTransform.from_exp_coords([0.0, np.radians(yaw_deg), 0.0, 0.0, 0.0, 0.0])
    noisy = wall_depth(pose) * (1 + rng.normal(0, 0.006 / WALL_Z, (CAMERA.height, CAMERA.width)))
    noise = depth_noise(*depth_residuals(wall_view(), query(noisy), pose, 1, gate=1e-3), floor=1e-5)
    assert noise.sigma * (1 + noise.growth * WALL_Z**2) == pytest.approx(0.006, rel=0.1)


@pytest.mark.parametrize(("sigma", "growth"), [(0.002, 0.5), (0.004, 0.1), (0.001, 1.2)])
def test_known_noise_is_recovered_at_every_depth(sigma: float, growth: float) -> None:
    rng = np.random.default_rng(5)
    depths = rng.uniform(0.6, 4.5, 40_000)
    residuals = rng.normal(0, sigma * (1 + growth * depths**2))
    found = depth_noise(residuals, depths, floor=1e-5)
    at = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(found.sigma * (1 + found.growth * at**2), sigma * (1 + growth * at**2), rtol=0.1)


def test_constant_noise_with_outliers_is_recovered() -> None:
    rng = np.random.default_rng(6)
    depths = rng.uniform(1.0, 4.0, 40_000)
    residuals = rng.normal(0, 0.005, depths.shape)
    residuals[::20] = 1.0
    found = depth_noise(residuals, depths, floor=1e-5)
    np.testing.assert_allclose(found.sigma * (1 + found.growth * np.array([1.5, 3.5]) ** 2), 0.005, rtol=0.12)


def test_two_depths_are_enough_for_the_growth() -> None:
    """Most pixels on one frontal wall: quantiles of the depth coincide, and ranges between them are empty."""
    rng = np.random.default_rng(9)
    depths = np.repeat([1.0, 3.0], [6_000, 30_000])
    residuals = rng.normal(0, 0.001 * (1 + depths**2))
    found = depth_noise(residuals, depths, floor=1e-5)
    for depth in (1.0, 3.0):
        assert found.sigma * (1 + found.growth * depth**2) == pytest.approx(0.001 * (1 + depth**2), rel=0.1)


def test_the_floor_holds_and_few_residuals_give_one_level() -> None:
    depths = np.linspace(1, 3, 1000)
    assert depth_noise(np.zeros(1000), depths, floor=2e-4).sigma == pytest.approx(2e-4)
    few = np.random.default_rng(7).normal(0, 0.01, 150)
    found = depth_noise(few, depths[:150], floor=1e-5)
    assert found.growth == 0.0
    # A robust spread of 150 samples is known to about a tenth.
    assert found.sigma == pytest.approx(0.01, rel=0.3)


def test_channel_residuals_compare_the_same_points_of_the_wall() -> None:
    """A camera 10 px worth of translation to the left sees the texture 10 px further to the right."""
    moved = RigidTransform.from_translation([10 * WALL_Z / CAMERA.fx, 0.0, 0.0])
    rendered, seen = channel_residuals(wall_view(texture()), query(channels=texture(10)), moved, 1, gate=1e-2)
    assert len(rendered) == 150 * 120
    np.testing.assert_array_equal(rendered, seen)


def test_channel_noise_is_recovered_and_has_a_floor() -> None:
    rng = np.random.default_rng(8)
    level = query(channels=texture() + rng.normal(0, 0.03, texture().shape).astype(np.float32))
    rendered, seen = channel_residuals(wall_view(texture()), level, IDENTITY, 1, gate=1e-2)
    assert channel_noise(rendered, seen) == pytest.approx(0.03, rel=0.1)
    assert channel_noise(rendered, rendered, floor=1e-3) == 1e-3
    exact = replace(level, channels=texture())
    assert channel_noise(*channel_residuals(wall_view(texture()), exact, IDENTITY, 2, gate=1e-2)) == 2e-3


def bumpy(slope: float, seed: int) -> View:
    """The wall with normals that tilt at random by ``slope`` rad (a component), and planes at the true depth."""
    view = wall_view()
    assert view.planes is not None
    rng = np.random.default_rng(seed)
    points = CAMERA.rays().astype(np.float64) * WALL_Z
    normals = np.concatenate([rng.normal(0, slope, (*points.shape[:2], 2)), np.ones((*points.shape[:2], 1))], axis=2)
    planes = normals / np.sum(normals * points, axis=2, keepdims=True)
    return replace(view, planes=planes.astype(np.float32))


def test_the_information_that_noisy_normals_pretend_is_that_of_their_derivatives() -> None:
    """Mean of j j^T over the derivatives j = (X x n, n) / s of the noise alone, s = 0.01 (1 + 0.3 z^2)."""
    slope, scale = 0.03, DepthNoise(0.01, 0.3)
    rng = np.random.default_rng(9)
    points = CAMERA.rays().astype(np.float64).reshape(-1, 3) * WALL_Z
    noise = np.concatenate([rng.normal(0, slope, (len(points), 2)), np.zeros((len(points), 1))], axis=1)
    derivatives = np.concatenate([np.cross(points, noise), noise], axis=1) / (0.01 * (1 + 0.3 * WALL_Z**2))
    expected = derivatives.T @ derivatives / len(points)
    observed = query(wall_depth(IDENTITY) * (1 + rng.normal(0, 1e-3, (CAMERA.height, CAMERA.width))))
    found = [spurious_information(bumpy(slope, k), observed, IDENTITY, scale, 1e-3, 19_200) for k in range(5)]
    # The directions that a bare wall leaves free; in the others the noise is nothing beside the information.
    free = np.ix_([2, 3, 4], [2, 3, 4])
    size = np.sqrt(np.diag(expected)[[2, 3, 4]])
    difference = (np.mean(found, axis=0) - expected)[free] / size / size[:, None]
    np.testing.assert_allclose(difference, np.zeros((3, 3)), atol=0.1)


def test_smooth_surfaces_pretend_nothing() -> None:
    """A map without noise shares all its slopes with the observation, whose own noise averages out."""
    rng = np.random.default_rng(10)
    observed = query(wall_depth(MOVED) * (1 + rng.normal(0, 1e-3, (CAMERA.height, CAMERA.width))))
    scale = DepthNoise(0.01, 0.0)
    one = spurious_information(wall_view(), observed, MOVED, scale, 1e-3)
    # All of the information along the normal is 1 / 0.01^2.
    assert np.abs(one[3:, 3:]).max() < 0.01 / 0.01**2
    empty = query(np.zeros((CAMERA.height, CAMERA.width)))
    np.testing.assert_array_equal(spurious_information(wall_view(), empty, MOVED, scale, 1e-3), np.zeros((6, 6)))
