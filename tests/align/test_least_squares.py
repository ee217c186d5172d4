"""Levenberg-Marquardt over poses: against closed-form registration, linear least squares and scipy's minimisers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.align.least_squares import Objective, State, minimise, solve_step, weighted, with_pose
from posesplat.geometry import poses
from posesplat.kernels.splatting import NormalEquations

IDENTITY = RigidTransform.identity()


def objective(cost: float, hessian: np.ndarray, gradient: np.ndarray) -> Objective:
    return Objective(cost, hessian, gradient, None, None)


def point_distances(points: np.ndarray, targets: np.ndarray) -> Callable[[State], Objective]:
    """Half the sum of squared distances of moved points from their targets."""

    def evaluate(state: State) -> Objective:
        moved = state.cam_from_world.apply(points)
        residuals = moved - targets
        # Derivative of exp(xi) p at xi = 0: [-p x, 1].
        jacobian = np.concatenate([-poses.skew(moved), np.tile(np.eye(3), (len(points), 1, 1))], axis=2)
        hessian, gradient = np.zeros((8, 8)), np.zeros(8)
        hessian[:6, :6] = np.einsum("nik,nil->kl", jacobian, jacobian)
        gradient[:6] = np.einsum("nik,ni->k", jacobian, residuals)
        return objective(0.5 * float((residuals**2).sum()), hessian, gradient)

    return evaluate


def line_fit(x: np.ndarray, y: np.ndarray) -> Callable[[State], Objective]:
    """Half the sum of squares of gain * x + bias - y; the pose does not matter."""

    def evaluate(state: State) -> Objective:
        residuals = state.gain * x + state.bias - y
        jacobian = np.zeros((len(x), 8))
        jacobian[:, 6], jacobian[:, 7] = x, 1.0
        return objective(0.5 * float(residuals @ residuals), jacobian.T @ jacobian, jacobian.T @ residuals)

    return evaluate


def sums(size: int, seed: int, **fields: float) -> NormalEquations:
    root = np.random.default_rng(seed).normal(size=(size, 20))
    values = {"cost": 2.0, "observed": 100.0, "covered": 80.0, "inliers": 60.0} | fields
    return NormalEquations(root @ root.T, root.sum(axis=1), **values)


@pytest.mark.parametrize("rotation_deg", [5.0, 60.0])
def test_registration_of_points_ends_at_the_closed_form(rotation_deg: float) -> None:
    rng = np.random.default_rng(0)
    points = rng.normal((0.3, -0.2, 2.0), 1.0, (50, 3))
    turn = Rotation.from_rotvec(np.radians(rotation_deg) * np.array([0.6, 0.0, 0.8]))
    targets = turn.apply(points) + rng.normal((0.4, -0.1, 0.2), 0.02, points.shape)
    best_turn = Rotation.align_vectors(targets - targets.mean(axis=0), points - points.mean(axis=0))[0]
    best = RigidTransform.from_components(targets.mean(axis=0) - best_turn.apply(points.mean(axis=0)), best_turn)
    found = minimise(point_distances(points, targets), State(IDENTITY), max_iterations=30, min_step=1e-9)
    assert max(np.abs(poses.log(found.state.cam_from_world * best.inv()))) < 1e-7
    assert found.state.gain == 1.0 and found.state.bias == 0.0


def test_a_linear_problem_is_solved_in_one_step() -> None:
    rng = np.random.default_rng(1)
    x = rng.random(200)
    y = 0.7 * x + 0.15 + rng.normal(0, 0.01, 200)
    evaluate = line_fit(x, y)
    slope, offset = np.polyfit(x, y, 1)
    after = State(IDENTITY).moved(solve_step(evaluate(State(IDENTITY)), 0.0))
    assert after.gain == pytest.approx(slope, abs=1e-7) and after.bias == pytest.approx(offset, abs=1e-7)
    np.testing.assert_array_equal(after.cam_from_world.as_matrix(), np.eye(4))


def test_a_geman_mcclure_location_is_the_minimum_that_scipy_finds() -> None:
    rng = np.random.default_rng(2)
    values = np.concatenate([rng.normal(0.3, 0.05, 80), rng.uniform(-1, 3, 40)])
    scale = 0.15

    def cost(bias: float) -> float:
        squared = ((bias - values) / scale) ** 2
        return float(0.5 * (squared / (1 + squared)).sum())

    def evaluate(state: State) -> Objective:
        residuals = (state.bias - values) / scale
        weights = 1 / (1 + residuals**2) ** 2
        hessian, gradient = np.zeros((8, 8)), np.zeros(8)
        hessian[7, 7] = weights.sum() / scale**2
        gradient[7] = (weights * residuals).sum() / scale
        return objective(cost(state.bias), hessian, gradient)

    expected = minimize_scalar(cost, bounds=(0.1, 0.5), method="bounded", options={"xatol": 1e-10}).x
    state = State(IDENTITY, bias=0.5)
    for _ in range(60):
        state = state.moved(solve_step(evaluate(state), 0.0))
    assert state.bias == pytest.approx(expected, abs=1e-6)


def test_damping_shortens_the_step_and_turns_it_towards_the_gradient() -> None:
    root = np.random.default_rng(3).normal(size=(8, 20))
    at = objective(1.0, root @ root.T, root.sum(axis=1))
    free, damped = solve_step(at, 0.0), solve_step(at, 1e6)
    np.testing.assert_allclose(free, -np.linalg.solve(at.hessian, at.gradient), rtol=1e-6)
    np.testing.assert_allclose(damped, -1e-6 * at.gradient / np.diag(at.hessian), rtol=1e-4)


def test_unknowns_without_information_stay_put() -> None:
    root = np.random.default_rng(4).normal(size=(6, 20))
    hessian, gradient = np.zeros((8, 8)), np.zeros(8)
    hessian[:6, :6], gradient[:6] = root @ root.T, 1.0
    step = solve_step(objective(1.0, hessian, gradient), 0.0)
    np.testing.assert_allclose(step[:6], -np.linalg.solve(hessian[:6, :6], gradient[:6]), rtol=1e-6)
    assert not step[6:].any()
    assert not solve_step(objective(0.0, np.zeros((8, 8)), np.zeros(8)), 0.0).any()


def test_worse_steps_are_rejected_and_iterations_counted() -> None:
    """A gradient that points uphill: every proposal costs more, so the start is returned."""
    points = np.random.default_rng(5).normal(size=(20, 3))
    right = point_distances(points, points + 0.1)

    def uphill(state: State) -> Objective:
        value = right(state)
        return objective(value.cost, value.hessian, -value.gradient)

    start = State(IDENTITY)
    found = minimise(uphill, start, max_iterations=5)
    assert found.state is start and found.evaluations == 5
    assert found.objective.cost == right(start).cost


def test_a_known_first_objective_is_not_evaluated_again() -> None:
    points = np.random.default_rng(6).normal(size=(20, 3))
    evaluate = point_distances(points, points + 0.1)
    calls: list[State] = []

    def counted(state: State) -> Objective:
        calls.append(state)
        return evaluate(state)

    start = State(IDENTITY)
    found = minimise(counted, start, first=evaluate(start), min_step=1e-6)
    assert found.evaluations == len(calls) and start not in calls


def test_no_step_turns_further_than_allowed() -> None:
    rng = np.random.default_rng(7)
    points = rng.normal(size=(30, 3))
    evaluate = point_distances(points, Rotation.from_euler("z", 50, degrees=True).apply(points))
    first = minimise(evaluate, State(IDENTITY), max_iterations=2, max_rotation=0.1)
    assert first.evaluations == 2
    assert first.state.cam_from_world.rotation.magnitude() == pytest.approx(0.1, rel=1e-6)


def test_weighted_terms_add_up() -> None:
    depth, channels = sums(6, 0), sums(8, 1)
    both = weighted(depth, channels, 2.0, 0.5)
    padded = np.pad(depth.hessian, (0, 2))
    np.testing.assert_allclose(both.hessian, 2.0 * padded + 0.5 * channels.hessian)
    np.testing.assert_allclose(both.gradient, 2.0 * np.pad(depth.gradient, (0, 2)) + 0.5 * channels.gradient)
    assert both.cost == pytest.approx(2.0 * 2.0 + 0.5 * 2.0)
    alone = weighted(depth, None, 1.0, 1.0)
    assert not alone.hessian[6:].any() and not alone.gradient[6:].any()


@pytest.mark.parametrize(("curvatures", "ratio"), [(8.0, 0.8), (1.0, 0.2), (-3.0, 0.2)])
def test_the_matrix_is_scaled_towards_the_true_hessian_with_a_limit(curvatures: float, ratio: float) -> None:
    depth = sums(6, 0, weights=10.0, curvatures=curvatures)
    found = weighted(depth, None, 1.0, 1.0, least_newton_ratio=0.2)
    np.testing.assert_allclose(found.hessian[:6, :6], ratio * depth.hessian)
    np.testing.assert_allclose(found.gradient[:6], depth.gradient)


def test_shares_are_taken_over_both_terms() -> None:
    depth = sums(6, 0, observed=100.0, covered=80.0, inliers=60.0)
    channels = sums(8, 1, observed=200.0, covered=120.0, inliers=20.0)
    both = weighted(depth, channels, 1.0, 1.0)
    assert both.inlier_fraction == pytest.approx((60 + 20) / (80 + 120))
    assert both.overlap == pytest.approx(max(80 / 100, 120 / 200))
    none = weighted(None, None, 1.0, 1.0)
    assert none.inlier_fraction == none.overlap == none.cost == 0.0


def test_states_move_on_the_left_and_keep_their_exposure() -> None:
    pose = RigidTransform.from_exp_coords([0.3, 0.1, -0.2, 1.0, 2.0, 3.0])
    tangent = np.array([0.01, 0.02, -0.03, 0.1, 0.0, -0.1])
    moved = State(pose, 1.2, 0.05).moved(np.append(tangent, [-0.1, 0.02]))
    expected = RigidTransform.from_exp_coords(tangent).as_matrix() @ pose.as_matrix()
    np.testing.assert_allclose(moved.cam_from_world.as_matrix(), expected, atol=1e-12)
    assert (moved.gain, moved.bias) == (pytest.approx(1.1), pytest.approx(0.07))
    elsewhere = with_pose(moved, IDENTITY)
    assert elsewhere.cam_from_world is IDENTITY and (elsewhere.gain, elsewhere.bias) == (moved.gain, moved.bias)
