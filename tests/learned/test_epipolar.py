"""The pose from matches against exact synthetic ones, with wrong matches among them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import RigidTransform, Rotation
from small_networks import random_rotation

from posesplat.learned.epipolar import inverse_depths, pose_from_matches, rotation_exp, sampson_errors


def matches(seed: int, wrong: float, noise: float) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, np.ndarray]:
    """Rays of 400 points in two cameras, the true pose, and the points' depths in the first."""
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = random_rotation(seed, rng.uniform(5, 25))
    direction = rng.normal(size=3)
    pose[:3, 3] = direction / np.linalg.norm(direction)
    points = rng.uniform([-2.0, -2.0, 3.0], [2.0, 2.0, 7.0], size=(400, 3))
    there = points @ pose[:3, :3].T + pose[:3, 3]
    first, second = points / points[:, 2:], there / there[:, 2:]
    second[:, :2] += noise * rng.normal(size=(400, 2))
    off = rng.random(400) < wrong
    second[off, :2] = rng.uniform(-0.6, 0.6, size=(int(off.sum()), 2))
    return torch.from_numpy(first).float(), torch.from_numpy(second).float(), pose, points[:, 2]


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_pose_is_the_true_one_in_spite_of_wrong_matches(wrong: float) -> None:
    found = [matches(seed, wrong, 0.0005) for seed in range(8)]
    first, second = (torch.stack([part[index] for part in found]) for index in (0, 1))
    poses = pose_from_matches(first, second, torch.ones(first.shape[:2]), 15).double().numpy()
    for pose, (_, _, true, _) in zip(poses, found, strict=True):
        turn = Rotation.from_matrix(pose[:3, :3] @ true[:3, :3].T).magnitude()
        assert np.degrees(turn) < 0.3
        assert np.degrees(np.arccos(np.clip(pose[:3, 3] @ true[:3, 3], -1, 1))) < 1.5  # the sign counts
        RigidTransform.from_matrix(pose)


def test_matches_without_trust_do_not_count() -> None:
    first, second, true, _ = matches(3, 0.0, 0.0)
    spoilt = second.clone()
    spoilt[::2, :2] += 0.2
    trust = torch.ones(400)
    trust[::2] = 0.0
    pose = pose_from_matches(first[None], spoilt[None], trust[None], 15)[0].double().numpy()
    assert np.degrees(Rotation.from_matrix(pose[:3, :3] @ true[:3, :3].T).magnitude()) < 0.1


def test_inverse_depths_are_those_of_the_points() -> None:
    first, second, true, depth = matches(4, 0.0, 0.0)
    here, _ = inverse_depths(torch.from_numpy(true)[None].float(), first[None], second[None])
    assert np.allclose(1 / here[0].numpy(), depth, rtol=2e-2)


def test_sampson_error_is_the_distance_by_which_both_ends_must_move_to_first_order() -> None:
    first, second, true, _ = matches(5, 0.0, 0.001)
    turn, direction = (torch.from_numpy(part)[None].float() for part in (true[:3, :3], true[:3, 3]))
    error = sampson_errors(turn, direction, first[None], second[None])[0].double().numpy()
    from scipy.optimize import minimize

    def residual(ends: np.ndarray) -> float:
        one, two = np.append(ends[:2], 1.0), np.append(ends[2:], 1.0)
        return float(two @ np.cross(true[:3, 3], true[:3, :3] @ one))

    for index in range(3):
        start = np.concatenate([first[index, :2].double().numpy(), second[index, :2].double().numpy()])
        best = minimize(
            lambda ends, start=start: 1e6 * ((ends - start) ** 2).sum(),
            start,
            constraints={"type": "eq", "fun": residual},
            method="SLSQP",
            options={"ftol": 1e-12},
        )
        assert abs(error[index]) == pytest.approx(np.linalg.norm(best.x - start), rel=0.02, abs=1e-6)


def test_rotation_exp_is_scipys() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 3))
    vectors[0] = 0
    found = rotation_exp(torch.from_numpy(vectors)).numpy()
    assert np.allclose(found, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)
