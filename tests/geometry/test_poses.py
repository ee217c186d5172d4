"""Pose rules: group identities, finite differences, Monte Carlo covariances, and poses worked out by hand."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.geometry.poses import (
    adjoint,
    centre_covariance,
    composed_covariance,
    direction_sigma_deg,
    exp,
    interpolated,
    inverse_covariance,
    log,
    looking_at,
    perturbed,
    pose_errors,
    rescaled,
    rescaled_covariance,
    skew,
)

RNG = np.random.default_rng(0)
POSE = RigidTransform.from_components([0.3, -1.2, 2.0], Rotation.from_rotvec([0.4, -0.9, 0.2]))
OTHER = RigidTransform.from_components([-0.7, 0.1, 0.5], Rotation.from_rotvec([-0.1, 0.3, 1.1]))


def covariance(scale: float) -> np.ndarray:
    factor = np.random.default_rng(7).normal(size=(6, 6)) * scale
    return factor @ factor.T


def sampled(cov: np.ndarray, count: int = 40_000) -> RigidTransform:
    return exp(np.random.default_rng(1).multivariate_normal(np.zeros(6), cov, size=count))


def test_exp_is_the_matrix_exponential_of_rotation_then_translation() -> None:
    omega, v = np.array([0.3, -0.5, 0.8]), np.array([1.0, 2.0, -0.5])
    generator = np.zeros((4, 4))
    generator[:3, :3] = [[0, -omega[2], omega[1]], [omega[2], 0, -omega[0]], [-omega[1], omega[0], 0]]
    generator[:3, 3] = v
    transform = exp(np.concatenate([omega, v]))
    np.testing.assert_allclose(transform.as_matrix(), expm(generator), atol=1e-12)
    np.testing.assert_allclose(log(transform), np.concatenate([omega, v]), atol=1e-12)


def test_perturbation_is_on_the_left() -> None:
    """A shift in the camera's own frame moves every camera coordinate by just that."""
    point = np.array([1.0, 2.0, 3.0])
    moved = perturbed(POSE, np.array([0, 0, 0, 0.1, 0.2, 0.3]))
    np.testing.assert_allclose(moved.apply(point) - POSE.apply(point), [0.1, 0.2, 0.3], atol=1e-12)


def test_derivative_of_a_perturbed_point() -> None:
    """d(points_in_cam)/d(omega, v) = [-[X]_x, I], by central differences."""
    point = np.array([1.0, 2.0, 3.0])
    columns = []
    for axis in range(6):
        step = np.zeros(6)
        step[axis] = 1e-6
        columns.append((perturbed(POSE, step).apply(point) - perturbed(POSE, -step).apply(point)) / 2e-6)
    expected = np.concatenate([-skew(POSE.apply(point)), np.eye(3)], axis=1)
    np.testing.assert_allclose(np.stack(columns, axis=1), expected, atol=1e-8)


def test_skew_is_the_cross_product() -> None:
    v, u = RNG.normal(size=(2, 5, 3))
    np.testing.assert_allclose(np.einsum("nij,nj->ni", skew(v), u), np.cross(v, u), atol=1e-12)


def test_adjoint_moves_a_tangent_through_a_transform() -> None:
    for _ in range(20):
        tangent = RNG.normal(size=6)
        left = (POSE * exp(tangent) * POSE.inv()).as_matrix()
        np.testing.assert_allclose(left, exp(adjoint(POSE) @ tangent).as_matrix(), atol=1e-12)
    np.testing.assert_allclose(adjoint(POSE * OTHER), adjoint(POSE) @ adjoint(OTHER), atol=1e-12)


def test_covariance_of_the_inverse_by_sampling() -> None:
    cov = covariance(2e-3)
    samples = log((sampled(cov) * POSE).inv() * POSE)
    predicted = inverse_covariance(POSE, cov)
    np.testing.assert_allclose(np.cov(samples.T), predicted, atol=0.03 * np.diag(predicted).max())


def test_covariance_of_a_product_by_sampling() -> None:
    first, second = covariance(2e-3), np.diag([1, 4, 2, 3, 1, 2]) * 1e-6
    errors = np.random.default_rng(2).multivariate_normal(np.zeros(6), second, size=40_000)
    samples = log((sampled(first) * POSE) * (exp(errors) * OTHER) * (POSE * OTHER).inv())
    predicted = composed_covariance(POSE, first, second)
    np.testing.assert_allclose(np.cov(samples.T), predicted, atol=0.03 * np.diag(predicted).max())


def test_errors_are_between_centres_and_in_degrees() -> None:
    """Same centre (1, 0, 0), turned by 90 degrees: no distance. Shifted by (0, 3, 4): distance 5."""
    here = RigidTransform.from_components([1.0, 0, 0], Rotation.identity()).inv()
    turned = RigidTransform.from_components([1.0, 0, 0], Rotation.from_euler("y", 90, degrees=True)).inv()
    away = RigidTransform.from_components([1.0, 3, 4], Rotation.identity()).inv()
    distance, angle = pose_errors(RigidTransform.concatenate([turned, away]), RigidTransform.concatenate([here, here]))
    np.testing.assert_allclose(distance, [0, 5], atol=1e-12)
    np.testing.assert_allclose(angle, [90, 0], atol=1e-9)


def test_interpolation_is_a_screw_at_constant_speed() -> None:
    np.testing.assert_allclose(interpolated(POSE, OTHER, 0.0).as_matrix(), POSE.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(interpolated(POSE, OTHER, 1.0).as_matrix(), OTHER.as_matrix(), atol=1e-12)
    steps = [interpolated(POSE, OTHER, f) for f in (0.0, 0.5, 1.0, 1.5)]
    moves = [(after * before.inv()).as_matrix() for before, after in pairwise(steps)]
    np.testing.assert_allclose(moves[1], moves[0], atol=1e-12)
    np.testing.assert_allclose(moves[2], moves[0], atol=1e-12)


def test_constant_velocity_on_a_straight_line() -> None:
    """The camera's centre goes 0, 1 along x; twice that far is 2."""
    start = RigidTransform.identity()
    end = RigidTransform.from_translation([1.0, 0, 0]).inv()
    np.testing.assert_allclose(interpolated(start, end, 2.0).inv().translation, [2, 0, 0], atol=1e-12)


def test_looking_at() -> None:
    """Five metres before the origin, image rows downwards along y: only a shift along the optical axis."""
    ahead = looking_at(np.array([0.0, 0, -5]), np.zeros(3), np.array([0.0, 1, 0]))
    np.testing.assert_allclose(ahead.as_matrix(), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]], atol=1e-12)
    centre, target, down = np.array([1.0, 2, 3]), np.array([-2.0, 0, 1]), np.array([0.0, 0, -1])
    pose = looking_at(centre, target, down)
    np.testing.assert_allclose(pose.apply(target), [0, 0, np.sqrt(17)], atol=1e-12)
    np.testing.assert_allclose(pose.inv().translation, centre, atol=1e-12)
    below = pose.apply(target + 0.1 * down)
    assert below[1] > 0 and abs(below[0]) < 1e-12
    assert np.linalg.det(pose.rotation.as_matrix()) == pytest.approx(1)
    for bad in (centre, centre + 2 * down):
        with pytest.raises(ValueError, match="looking_at needs a target"):
            looking_at(centre, bad, down)


def test_rescaled_poses_and_covariances_belong_together() -> None:
    rng = np.random.default_rng(4)
    pose, tangent = exp(rng.normal(0, 0.3, 6)), rng.normal(0, 1e-3, 6)
    longer = tangent * np.array([1.0, 1.0, 1.0, 2.5, 2.5, 2.5])
    # Perturbing and then telling lengths in another unit is telling both in it.
    expected = perturbed(rescaled(pose, 2.5), longer).as_matrix()
    np.testing.assert_allclose(rescaled(perturbed(pose, tangent), 2.5).as_matrix(), expected, atol=1e-12)
    outer = np.outer(tangent, tangent)
    np.testing.assert_allclose(rescaled_covariance(outer, 2.5), np.outer(longer, longer), rtol=1e-12)


def test_direction_of_a_translation_is_as_sure_as_its_samples() -> None:
    pose = RigidTransform.from_components([2.0, -1.0, 0.5], Rotation.from_rotvec([0.3, -0.2, 0.1]))
    spread = np.zeros((6, 6))
    along = pose.translation / np.linalg.norm(pose.translation)
    across = np.cross(along, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    # Much noise along the translation, which does not turn it, and 0.02 across it.
    spread[3:, 3:] = 0.09 * np.outer(along, along) + 0.02**2 * np.outer(across, across)
    samples = np.random.default_rng(0).multivariate_normal(np.zeros(6), spread, size=4000, method="eigh")
    moved = pose.translation + samples[:, 3:]
    angles = np.degrees(np.arctan2(moved @ across, moved @ along))
    assert direction_sigma_deg(pose, spread) == pytest.approx(angles.std(), rel=0.1)
    assert direction_sigma_deg(pose, None) == direction_sigma_deg(RigidTransform.identity(), spread) == 90.0
    assert direction_sigma_deg(pose, 1e6 * np.eye(6)) == 90.0


def test_the_covariance_of_the_centre_is_that_of_the_differentiated_pose() -> None:
    rng = np.random.default_rng(8)
    pose = RigidTransform.from_components(rng.normal(size=3), Rotation.from_rotvec([0.4, -1.2, 0.7]))
    factor = rng.normal(size=(6, 6))
    covariance = factor @ factor.T
    step = 1e-6
    slopes = [
        (perturbed(pose, step * axis).inv().translation - perturbed(pose, -step * axis).inv().translation) / (2 * step)
        for axis in np.eye(6)
    ]
    jacobian = np.stack(slopes, axis=1)
    assert centre_covariance(pose, covariance) == pytest.approx(jacobian @ covariance @ jacobian.T, rel=1e-6, abs=1e-8)
