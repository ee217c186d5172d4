"""Scores of trajectories, from closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.protocols.track_contenders import constant_velocity, line_between_ends, static_camera
from posesplat.evaluate.protocols.track_scores import best_aligned, coverage, scored, verdict
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.poses import perturbed, pose_errors
from posesplat.geometry.trajectory import Trajectory
from posesplat.methods.track_segment import UNOBSERVABLE_VARIANCE

RNG = np.random.default_rng(3)
COUNT = 40
TRUE = RigidTransform.from_components(
    0.01 * RNG.standard_normal((COUNT, 3)), Rotation.from_rotvec(0.02 * RNG.standard_normal((COUNT, 3)))
)
ELSEWHERE = RigidTransform.from_components([1.0, 2.0, -3.0], Rotation.from_rotvec([0.3, -1.0, 0.5]))


def scaled(poses: RigidTransform, scale: float) -> RigidTransform:
    """The same path, in another world and unit."""
    moved = poses * ELSEWHERE
    return RigidTransform.from_components(scale * moved.translation, moved.rotation)


def estimates(poses: RigidTransform, **fields: object) -> Trajectory:
    answers = tuple(PoseEstimate(True, "", pose, **fields) for pose in poses)  # type: ignore[arg-type]
    return Trajectory(answers, np.arange(len(answers)) / 30, tuple(map(str, range(len(answers)))))


def test_a_similarity_costs_nothing() -> None:
    score = scored(estimates(scaled(TRUE, 7.0)), TRUE)
    assert (score.frames, score.posed, score.verdict) == (COUNT, COUNT, "motion")
    assert max(score.ate_mm, score.rpe_mm, score.speed_mm_s) < 1e-6
    assert max(score.rpe_deg, score.first_deg) < 1e-5
    assert np.isnan(score.ate_se3_mm)


def test_an_answer_in_metres_pays_for_its_scale() -> None:
    metric = {"scale": Scale(True, "depth sensor")}
    right = scored(estimates(TRUE * ELSEWHERE, **metric), TRUE)
    assert right.ate_se3_mm == pytest.approx(0.0, abs=1e-6)
    wrong = scored(estimates(scaled(TRUE, 1.1), **metric), TRUE)
    centres = TRUE.inv().translation
    size = 1e3 * np.sqrt(np.mean(np.sum((centres - centres.mean(axis=0)) ** 2, axis=1)))
    assert wrong.ate_se3_mm == pytest.approx(0.1 * size, rel=1e-6)
    assert wrong.ate_mm < 1e-6


def test_speed_is_that_of_the_published_measure() -> None:
    # Steps of 1 and 3 mm in turn along two axes; the estimate's centres all lie where the smaller ones are.
    steps = np.zeros((9, 3))
    steps[1::2, 0], steps[2::2, 1] = 1e-3, 3e-3
    true = RigidTransform.from_components(-np.cumsum(steps, axis=0), Rotation.identity(9))
    still = estimates(RigidTransform.concatenate([true[0]] * 9))
    assert scored(still, true, rate_hz=25.0).speed_mm_s == pytest.approx(2.0 * 25.0, rel=1e-9)


def test_a_static_camera_errs_by_the_spread_of_the_motion() -> None:
    score = scored(estimates(static_camera(TRUE)), TRUE)
    centres = TRUE.inv().translation
    assert score.ate_mm == pytest.approx(1e3 * np.sqrt(centres.var(axis=0).sum()), rel=1e-9)
    first = np.degrees((TRUE.rotation * TRUE[0].rotation.inv()).magnitude()).max()
    assert score.first_deg == pytest.approx(first, rel=1e-9)


def test_a_wrong_turn_is_the_rotation_error() -> None:
    turned = list(TRUE)
    turned[5] = perturbed(turned[5], np.array([0.0, np.radians(0.3), 0.0, 0.0, 0.0, 0.0]))
    score = scored(estimates(RigidTransform.concatenate(turned)), TRUE)
    assert score.first_deg == pytest.approx(0.3, abs=1e-6)
    assert score.rpe_deg == pytest.approx(np.sqrt(2 * 0.3**2 / (COUNT - 1)), rel=1e-6)


def test_errors_are_of_posed_frames_and_refusals_are_counted() -> None:
    answers = list(estimates(scaled(TRUE, 2.0)).estimates)
    for index in range(0, 15):
        answers[index] = PoseEstimate.failure("lost")
    some = Trajectory(tuple(answers), np.arange(COUNT) / 30, tuple(map(str, range(COUNT))))
    score = scored(some, TRUE)
    assert (score.posed, score.verdict) == (COUNT - 15, "motion")
    assert score.ate_mm < 1e-6
    none = Trajectory((PoseEstimate.failure("lost"),) * COUNT, np.arange(COUNT) / 30, some.names)
    nothing = scored(none, TRUE)
    assert (nothing.posed, nothing.verdict) == (0, "refused")
    assert np.isnan([nothing.ate_mm, nothing.rpe_deg, nothing.first_deg]).all()


def test_no_translation_error_without_translation() -> None:
    turning = RigidTransform.from_rotation(TRUE.rotation)
    score = scored(estimates(turning), turning)
    assert np.isnan([score.ate_mm, score.rpe_mm, score.speed_mm_s]).all()
    assert score.first_deg < 1e-6
    unseen = np.diag([1e-8] * 3 + [UNOBSERVABLE_VARIANCE] * 3)
    unobservable = scored(estimates(TRUE, covariance=unseen, warnings=("unobservable",)), TRUE)
    assert unobservable.verdict == "unobservable"
    assert np.isnan(unobservable.ate_mm)


def test_a_warning_is_a_weak_verdict() -> None:
    assert verdict(estimates(TRUE, warnings=("weak translation",))) == "weak"


def test_coverage_is_that_of_the_covariance() -> None:
    rng = np.random.default_rng(5)
    count = 800
    base = RigidTransform.from_components(
        0.01 * rng.standard_normal((count, 3)), Rotation.from_rotvec(0.02 * rng.standard_normal((count, 3)))
    )
    true = base * base[0].inv()
    spread = np.diag([2e-5, 1e-5, 3e-5, 1e-4, 2e-4, 1e-4]) ** 2
    noise = rng.multivariate_normal(np.zeros(6), spread, size=count)
    noise[0] = 0.0
    noisy = [perturbed(pose, tangent) for pose, tangent in zip(true, noise, strict=True)]
    moved = RigidTransform.concatenate(noisy)
    assert coverage(estimates(moved, covariance=spread), true) == pytest.approx(0.95, abs=0.02)
    # The 95 % region of half the standard deviations holds the chi-square below 12.59 / 4: 20.9 %.
    assert coverage(estimates(moved, covariance=spread / 4), true) == pytest.approx(0.209, abs=0.03)
    # In another unit, and where translation means nothing.
    unit = np.array([1.0, 1.0, 1.0, 5.0, 5.0, 5.0])
    other = RigidTransform.from_components(5.0 * moved.translation, moved.rotation)
    assert coverage(estimates(other, covariance=spread * np.outer(unit, unit)), true) == pytest.approx(0.95, abs=0.02)
    unknown = spread.copy()
    unknown[3:, 3:] = UNOBSERVABLE_VARIANCE * np.eye(3)
    assert coverage(estimates(moved, covariance=unknown), true) == pytest.approx(0.95, abs=0.02)
    assert np.isnan(coverage(estimates(moved), true))


def test_lines_are_straight_and_keep_what_they_are_told() -> None:
    ends = line_between_ends(TRUE)
    assert np.allclose(ends[[0, -1]].as_matrix(), TRUE[[0, -1]].as_matrix(), atol=1e-12)
    ahead = constant_velocity(TRUE)
    assert np.allclose(ahead[:2].as_matrix(), TRUE[:2].as_matrix(), atol=1e-12)
    for path in (ends, ahead):
        assert np.abs(np.diff(path.inv().translation, 2, axis=0)).max() < 1e-12
        turns = (path.inv().rotation[:-1].inv() * path.inv().rotation[1:]).as_rotvec()
        assert np.abs(turns - turns[0]).max() < 1e-9


def test_alignment_of_a_line_keeps_the_first_orientation() -> None:
    moved = best_aligned(scaled(line_between_ends(TRUE), 3.0), TRUE)
    # The closed form: the line is in the true world already, so only its scale and place are free.
    line, centres = line_between_ends(TRUE).inv().translation, TRUE.inv().translation
    along, wanted = line - line.mean(axis=0), centres - centres.mean(axis=0)
    scale = max((along * wanted).sum() / (along**2).sum(), 0.0)
    assert np.allclose(moved.inv().translation, scale * along + centres.mean(axis=0), atol=1e-9)
    assert pose_errors(moved, TRUE)[1][0] < 1e-6


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="one estimate for each true pose"):
        scored(estimates(TRUE[:5]), TRUE)
