from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from align.small_motions import CAMERA, scene
from posesplat.align.sightings import Sightings
from posesplat.align.small_motion import (
    Loss,
    SmallMotion,
    adjusted,
    jacobian,
    left_perturbations,
    noise_px,
    normal_equations,
    reduced_system,
    robust_cost,
    robust_weights,
    rotation_only,
)
from posesplat.geometry import poses
from posesplat.geometry.poses import pose_errors

STILL = SmallMotion.still


def stepped(motion: SmallMotion, frame: int, unknown: int, step: float, point: int | None = None) -> SmallMotion:
    """The motion with one unknown changed: rotation (left), translation (added), or a point's inverse depth."""
    rotations, translations, depths = (
        motion.rotations.copy(),
        motion.translations.copy(),
        motion.inverse_depths.copy(),
    )
    if unknown < 3:
        rotations[frame] = Rotation.from_rotvec(step * np.eye(3)[unknown]).as_matrix() @ rotations[frame]
    elif unknown < 6:
        translations[frame, unknown - 3] += step
    else:
        assert point is not None
        depths[point] += step
    return SmallMotion(rotations, translations, depths)


def test_the_model_agrees_with_projection_of_points_in_space() -> None:
    exact = scene(1)
    np.testing.assert_allclose(exact.motion.residuals(exact.sightings), 0.0, atol=1e-9)


@pytest.mark.parametrize("unknown", range(7))
def test_the_jacobian_is_the_central_difference(unknown: int) -> None:
    exact = scene(2, frames=3, points=8, shift=0.1, turn_deg=8.0)
    motion, sightings = exact.motion, exact.sightings
    analytic = jacobian(motion, sightings)
    for frame in range(3):
        for point in range(8):
            ahead, behind = (
                stepped(motion, frame, unknown, step, point).residuals(sightings)[frame, :, point]
                for step in (1e-6, -1e-6)
            )
            np.testing.assert_allclose(
                analytic[frame, unknown, :, point], (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-4
            )


def test_the_reduced_system_is_the_schur_complement_of_the_dense_one() -> None:
    noisy = scene(3, frames=3, points=9, shift=0.1, noise_px=0.5)
    motion, sightings = noisy.motion, noisy.sightings
    weights = np.random.default_rng(0).uniform(0.2, 1.0, (3, 9))
    derivative, residual = jacobian(motion, sightings), motion.residuals(sightings)
    rows, values = [], []
    for frame in range(3):
        for point in range(9):
            for axis in range(2):
                row = np.zeros(3 * 6 + 9)
                row[6 * frame : 6 * frame + 6] = derivative[frame, :6, axis, point]
                row[18 + point] = derivative[frame, 6, axis, point]
                rows.append(np.sqrt(weights[frame, point]) * row)
                values.append(np.sqrt(weights[frame, point]) * residual[frame, axis, point])
    dense, gradient = np.array(rows).T @ np.array(rows), np.array(rows).T @ np.array(values)
    inverse = np.linalg.inv(dense[18:, 18:])
    hessian, right, _ = reduced_system(normal_equations(motion, sightings, weights))
    np.testing.assert_allclose(hessian, dense[:18, :18] - dense[:18, 18:] @ inverse @ dense[18:, :18], rtol=1e-7)
    np.testing.assert_allclose(right, gradient[:18] - dense[:18, 18:] @ inverse @ gradient[18:], rtol=1e-7)


@pytest.mark.parametrize("loss", ["cauchy", "geman-mcclure"])
def test_exact_tracks_give_the_exact_motion_and_depths(loss: Loss) -> None:
    exact = scene(4)
    found = adjusted(exact.sightings, rotation_only(exact.sightings), loss, max_iterations=200, tolerance=1e-14)
    gap, angle = pose_errors(found.cam_from_reference(), exact.cam_from_reference)
    assert gap.max() < 1e-5
    assert angle.max() < 1e-4
    np.testing.assert_allclose(found.inverse_depths, exact.inverse_depths, rtol=1e-3)


def test_the_cost_never_rises_above_that_of_the_start() -> None:
    noisy = scene(5, noise_px=0.3)
    start = rotation_only(noisy.sightings)
    found = adjusted(noisy.sightings, start, "geman-mcclure")
    costs = [robust_cost(m.lengths(noisy.sightings), "geman-mcclure", 0.5) for m in (found, start)]
    assert costs[0] < costs[1]


def test_turning_the_camera_about_its_axis_turns_the_answer() -> None:
    noisy = scene(6, noise_px=0.2)
    square = Sightings.of(noisy.tracks, replace(CAMERA, fy=CAMERA.fx))
    quarter = Rotation.from_euler("z", 90, degrees=True).as_matrix()
    turned = replace(
        square,
        rays=square.rays @ quarter.T,
        offsets=np.einsum("ab,fbp->fap", quarter[:2, :2], square.offsets),
    )
    first, second = (
        adjusted(sightings, rotation_only(sightings), "geman-mcclure", tolerance=1e-12)
        for sightings in (square, turned)
    )
    np.testing.assert_allclose(second.translations, first.translations @ quarter.T, atol=2e-5)
    np.testing.assert_allclose(second.rotations, quarter @ first.rotations @ quarter.T, atol=2e-5)


def test_a_pure_rotation_is_found_in_spite_of_wild_tracks() -> None:
    exact = scene(7, shift=0.0, turn_deg=4.0)
    sightings = exact.sightings
    sightings.offsets[:, :, ::5] += 40.0
    _, angle = pose_errors(rotation_only(sightings).cam_from_reference(), exact.cam_from_reference)
    assert angle.max() < 1e-3


def test_points_that_are_not_seen_do_not_count() -> None:
    exact = scene(8)
    sightings = exact.sightings
    seen = np.random.default_rng(0).random(sightings.seen.shape) < 0.7
    garbage = np.where(seen[:, None], sightings.offsets, 1e3)
    partial = replace(sightings, seen=seen, offsets=garbage)
    found = adjusted(partial, rotation_only(partial), "geman-mcclure", max_iterations=200, tolerance=1e-14)
    gap, _ = pose_errors(found.cam_from_reference(), exact.cam_from_reference)
    assert gap.max() < 1e-5


def test_losses_are_the_textbook_formulas() -> None:
    lengths, seen = np.array([[0.0, 1.0, 3.0]]), np.array([[True, True, True]])
    assert robust_cost(lengths, "cauchy", 2.0) == pytest.approx(4 * (np.log(1.25) + np.log(3.25)))
    assert robust_cost(lengths, "geman-mcclure", 2.0) == pytest.approx(1 / 1.25 + 9 / 3.25)
    sightings = scene(9, frames=1, points=3).sightings
    for loss in ("cauchy", "geman-mcclure"):
        weights = robust_weights(lengths, sightings, loss, 2.0)
        # The weight is the slope of the loss over the squared residual.
        slope = [
            (robust_cost(np.array([[e + 1e-6]]), loss, 2.0) - robust_cost(np.array([[e]]), loss, 2.0))
            / ((e + 1e-6) ** 2 - e**2)
            for e in (1.0, 3.0)
        ]
        np.testing.assert_allclose(weights[0, 1:], slope, rtol=1e-4)
    assert seen.all()


def test_noise_is_that_of_one_coordinate() -> None:
    rng = np.random.default_rng(0)
    errors = 0.3 * rng.standard_normal((2, 40, 500))
    assert noise_px(np.hypot(*errors), np.ones((40, 500), dtype=bool)) == pytest.approx(0.3, rel=0.02)


def test_left_perturbations_turn_steps_into_tangents() -> None:
    motion = scene(10, frames=2, points=4, shift=0.2).motion
    step = 1e-6 * np.arange(1, 7)
    change = left_perturbations(motion)[1] @ step
    moved = motion
    for unknown in range(6):
        moved = stepped(moved, 1, unknown, step[unknown])
    tangent = poses.log(moved.cam_from_reference()[1] * motion.cam_from_reference()[1].inv())
    np.testing.assert_allclose(tangent, change, atol=1e-10)
