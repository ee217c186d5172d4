"""GARPS's objective: the closed form of the paper's idea, its gradient by finite differences, and where it leads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from align.mixture_rooms import room_sets
from posesplat.align.garps import GarpsObjective, GarpsOptions, garps_refine
from posesplat.align.mixture import MixtureOptions, MixturePair
from posesplat.gaussians.flat_gaussians import joint_features
from posesplat.geometry.poses import perturbed, pose_errors

SIGMA_M = 0.05


def correlation(level: GarpsObjective, b_from_a: RigidTransform) -> float:
    """E over the pairs that were looked up, in float64 from the formula."""
    a, b = level.pair.a, level.pair.b
    rows = level.pair.look_up(a.means_in_cam, b.means_in_cam, level.found_at, SIGMA_M / level.pair.median_depth).rows
    features = joint_features(a, b)
    rotation = b_from_a.rotation.as_matrix()
    spread_a, spread_b = (side.covariances() + 0.5 * SIGMA_M**2 * np.eye(3) for side in (a, b))
    j, there = np.maximum(level.neighbours, 0), level.neighbours >= 0
    gaps = b.means_in_cam[rows, None] - b_from_a.apply(a.means_in_cam)[j]
    summed = spread_b[rows, None] + (rotation @ spread_a @ rotation.T)[j]
    squared = np.sum(gaps * np.linalg.solve(summed, gaps[..., None])[..., 0], axis=2)
    density = np.exp(-0.5 * squared) / np.sqrt((2 * np.pi) ** 3 * np.linalg.det(summed))
    colours = (b.lab[rows, None].astype(float) - a.lab[j]) * [0.5, 1, 1] / 10.0
    cosines = np.einsum("nd,nkd->nk", features[1][rows].astype(float), features[0][j])
    looks = np.exp(-0.5 * (colours**2).sum(axis=2) + b.trust[rows, None] * a.trust[j] * (cosines - 1) / 0.25)
    return float(np.sum((density * looks)[there & (squared <= 25.0)])) / (len(rows) * len(a))


def objective(b_from_a: RigidTransform) -> GarpsObjective:
    a, b, _ = room_sets()
    level = GarpsObjective(MixturePair(a, b, MixtureOptions(neighbours=16), threads=1), SIGMA_M)
    level.look_up(b_from_a)
    level.found_at = b_from_a
    return level


def test_the_value_is_the_formula_and_the_gradient_its_slope() -> None:
    pose = perturbed(room_sets()[2], np.array([0.01, -0.02, 0.01, 0.02, 0.01, -0.02]))
    level = objective(pose)
    cost, gradient = level.evaluated(pose)
    assert cost == pytest.approx(-np.log(correlation(level, pose)), abs=1e-4)
    step = 1e-4
    for axis in (0, 1, 4):
        ends = [perturbed(pose, sign * step * np.eye(6)[axis]) for sign in (1, -1)]
        slope = -np.diff([np.log(correlation(level, end)) for end in reversed(ends)])[0] / (2 * step)
        assert gradient[axis] == pytest.approx(slope, abs=0.02 * np.abs(gradient).max())


def test_it_finds_the_pose_from_a_near_start() -> None:
    a, b, true = room_sets()
    start = perturbed(true, np.array([0.03, -0.04, 0.02, -0.05, 0.03, 0.04]))
    costs: list[float] = []
    result = garps_refine(a, b, start, progress=lambda step, cost: costs.append(cost), threads=1)
    distance, angle = pose_errors(result.b_from_a, true)
    assert distance < 5e-3 and angle < 0.1
    assert result.cost < result.start_cost and result.iterations == len(costs) == 200


def test_mixtures_that_do_not_meet_are_refused() -> None:
    a, b, true = room_sets()
    result = garps_refine(a, b, perturbed(true, np.array([0, 3.0, 0, 0, 0, 0])), threads=1)
    assert result.b_from_a is None and "do not overlap" in result.reason
    with pytest.raises(ValueError, match="positive sigmas_m"):
        GarpsOptions(sigmas_m=(0.1, 0.0))
