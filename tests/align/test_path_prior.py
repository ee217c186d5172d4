"""The prior on a path against a general least-squares solver."""

from __future__ import annotations

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import RigidTransform

from posesplat.align.path_prior import smoothed_path
from posesplat.datasets.rooms import handheld_trajectory
from posesplat.geometry import poses


def noisy_path(count: int = 7) -> tuple[RigidTransform, np.ndarray]:
    rng = np.random.default_rng(3)
    path = handheld_trajectory(1, count + 1, None, 0.02, 1.0)[1:]
    path = poses.exp(rng.normal(0, 3e-4, (count, 6))) * path
    factors = rng.normal(0, 3e-4, (count, 6, 6)) + 1e-3 * np.eye(6)
    return path, factors @ factors.transpose(0, 2, 1)


def test_the_path_is_that_of_a_general_solver() -> None:
    path, covariance = noisy_path()
    information = np.linalg.inv(covariance)
    weight = 2.0
    roots = np.linalg.cholesky(information).transpose(0, 2, 1)
    prior = np.linalg.cholesky(weight * information.mean(axis=0)).T

    def residuals(tangents: np.ndarray) -> np.ndarray:
        moved = tangents.reshape(-1, 6)
        whole = RigidTransform.concatenate([RigidTransform.identity(), poses.exp(moved) * path])
        steps = poses.log(whole[1:] * whole[:-1].inv())
        own = np.einsum("fij,fj->fi", roots, moved)
        return np.concatenate([own.ravel(), (np.diff(steps, axis=0) @ prior.T).ravel()])

    twin = least_squares(residuals, np.zeros(6 * len(path)), xtol=1e-15, ftol=1e-15, gtol=1e-12)
    found = poses.log(smoothed_path(path, covariance, weight) * path.inv())
    assert np.abs(twin.x).max() > 2e-4
    np.testing.assert_allclose(found.ravel(), twin.x, atol=5e-3 * np.abs(twin.x).max())


def test_without_weight_the_path_stays_and_with_a_huge_one_the_camera_moves_evenly() -> None:
    path, covariance = noisy_path()
    np.testing.assert_array_equal(smoothed_path(path, covariance, 0.0).as_matrix(), path.as_matrix())
    even = RigidTransform.concatenate([RigidTransform.identity(), smoothed_path(path, covariance, 1e7)])
    steps = poses.log(even[1:] * even[:-1].inv())
    given = RigidTransform.concatenate([RigidTransform.identity(), path])
    before = np.abs(np.diff(poses.log(given[1:] * given[:-1].inv()), axis=0)).max()
    assert np.abs(np.diff(steps, axis=0)).max() < 1e-4 * before
