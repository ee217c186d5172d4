from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import RigidTransform, Rotation

from posesplat.evaluate.metrics import (
    ErrorStatistics,
    absolute_trajectory_error,
    paired_interval,
    pose_auc,
    relative_pose_error,
    speed_difference,
)


def cameras(centres: np.ndarray, rotations: Rotation | None = None) -> RigidTransform:
    world_from_cam = RigidTransform.from_components(centres, rotations or Rotation.identity(len(centres)))
    return world_from_cam.inv()


def random_cameras(count: int, seed: int) -> RigidTransform:
    random = np.random.default_rng(seed)
    return cameras(random.normal(size=(count, 3)), Rotation.random(count, rng=random))


def test_statistics_of_three_four_five() -> None:
    found = ErrorStatistics.of(np.array([3.0, 4.0, 5.0]))
    assert found.to_json() == pytest.approx(
        {"rmse": (50 / 3) ** 0.5, "mean": 4, "median": 4, "std": (2 / 3) ** 0.5, "min": 3, "max": 5, "count": 3}
    )


@pytest.mark.parametrize("errors", [[], [1.0, np.nan], [np.inf]])
def test_statistics_refuse_failures(errors: list[float]) -> None:
    with pytest.raises(ValueError, match="only finite ones"):
        ErrorStatistics.of(np.array(errors))


def test_a_constant_offset_is_the_absolute_error() -> None:
    true = random_cameras(6, seed=0)
    offset = RigidTransform.from_translation([0.0, 3.0, 4.0])
    errors = absolute_trajectory_error(true * offset.inv(), true)
    np.testing.assert_allclose(errors.translation, 5.0)
    np.testing.assert_allclose(errors.rotation_deg, 0.0, atol=1e-6)
    assert errors.translation_statistics.std == pytest.approx(0.0, abs=1e-12)


def test_a_turned_camera_is_the_rotation_error() -> None:
    true = random_cameras(4, seed=1)
    turn = RigidTransform.from_rotation(Rotation.from_rotvec([0.0, 0.0, 12.0], degrees=True))
    errors = absolute_trajectory_error(turn * true, true)
    np.testing.assert_allclose(errors.rotation_deg, 12.0)
    np.testing.assert_allclose(errors.translation, 0.0, atol=1e-12)
    assert errors.rotation_statistics.rmse == pytest.approx(12.0)


@pytest.mark.parametrize("delta", [1, 3])
@pytest.mark.parametrize("all_pairs", [False, True])
def test_constant_velocity_drift_is_the_relative_error(delta: int, all_pairs: bool) -> None:
    true = cameras(np.zeros((10, 3)))
    estimated = cameras(np.outer(np.arange(10), [0.02, 0.0, 0.0]))
    errors = relative_pose_error(estimated, true, delta, all_pairs)
    assert len(errors.translation) == (10 - delta if all_pairs else {1: 9, 3: 3}[delta])
    np.testing.assert_allclose(errors.translation, 0.02 * delta)
    np.testing.assert_allclose(errors.rotation_deg, 0.0, atol=1e-9)


def test_relative_error_is_blind_to_the_choice_of_world() -> None:
    estimated, true = random_cameras(8, seed=2), random_cameras(8, seed=3)
    moved = estimated * RigidTransform.from_exp_coords([0.3, 0.4, -2.0, 5.0, 6.0, 7.0])
    before, after = relative_pose_error(estimated, true), relative_pose_error(moved, true)
    np.testing.assert_allclose(after.translation, before.translation)
    np.testing.assert_allclose(after.rotation_deg, before.rotation_deg)


def test_relative_error_agrees_with_the_formula_in_matrices() -> None:
    estimated, true = random_cameras(5, seed=4), random_cameras(5, seed=5)
    p, q = estimated.inv().as_matrix(), true.inv().as_matrix()
    errors = relative_pose_error(estimated, true, delta=2, all_pairs=True)
    for i in range(3):
        e = np.linalg.inv(np.linalg.inv(q[i]) @ q[i + 2]) @ (np.linalg.inv(p[i]) @ p[i + 2])
        assert errors.translation[i] == pytest.approx(np.linalg.norm(e[:3, 3]))
        assert errors.rotation_deg[i] == pytest.approx(np.degrees(np.arccos((np.trace(e[:3, :3]) - 1) / 2)))


@pytest.mark.parametrize("delta", [0, 5])
def test_relative_error_needs_a_pair(delta: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 5 paired poses"):
        relative_pose_error(random_cameras(5, 0), random_cameras(5, 1), delta)


def test_unpaired_poses_are_refused() -> None:
    with pytest.raises(ValueError, match=r"paired batches.*\(5,\) and \(4,\)"):
        absolute_trajectory_error(random_cameras(5, 0), random_cameras(4, 1))


def test_speed_difference_of_two_straight_paths() -> None:
    true = cameras(np.outer(np.arange(5), [0.0, 0.0, 0.010]))
    estimated = cameras(np.outer(np.arange(5), [0.007, 0.0, 0.0]))
    assert speed_difference(estimated, true, frame_rate_hz=30.0) == pytest.approx(0.003 * 30)


def test_auc_of_perfect_and_hopeless_answers() -> None:
    assert pose_auc(np.zeros(4), [5, 10]) == pytest.approx((1.0, 1.0))
    assert pose_auc(np.full(4, np.inf), [5, 10]) == (0.0, 0.0)


def test_auc_of_two_answers_by_hand() -> None:
    # Recall rises from (0, 0) to (2, 1/2) and stays there up to 4; up to 10 it goes on to (6, 1).
    at_4 = (0.5 * 2 * 0.5 + 2 * 0.5) / 4
    at_10 = (0.5 * 2 * 0.5 + 4 * 0.75 + 4 * 1.0) / 10
    assert pose_auc(np.array([6.0, 2.0]), [4, 10]) == pytest.approx((at_4, at_10))


def test_auc_of_uniform_errors_is_half() -> None:
    assert pose_auc(np.linspace(0.001, 10.0, 10000), [10]) == pytest.approx((0.5,), abs=1e-3)


@given(st.lists(st.floats(0, 50), min_size=1, max_size=20), st.floats(0, 50))
def test_auc_never_grows_with_one_more_failure(errors: list[float], threshold: float) -> None:
    limit = [threshold + 0.1]
    assert pose_auc(np.array([*errors, np.inf]), limit)[0] <= pose_auc(np.array(errors), limit)[0] + 1e-12


@pytest.mark.parametrize("errors", [[], [np.nan], [-1.0]])
def test_auc_refuses_what_is_no_error(errors: list[float]) -> None:
    with pytest.raises(ValueError, match="AUC needs"):
        pose_auc(np.array(errors), [5])


def test_interval_of_a_constant_gap_is_that_gap() -> None:
    second = np.random.default_rng(0).uniform(1, 2, 51)
    found = paired_interval(second - 0.25, second, seed=1, statistic="mean")
    assert (found.difference, found.low, found.high) == pytest.approx((-0.25, -0.25, -0.25))
    assert found.first_is_lower
    assert not found.second_is_lower


def test_interval_of_a_mean_agrees_with_the_normal_one() -> None:
    random = np.random.default_rng(2)
    first, second = random.normal(1.0, 1.0, 400), random.normal(1.2, 1.0, 400)
    found = paired_interval(first, second, seed=3, statistic="mean")
    half_width = 1.96 * np.std(first - second) / np.sqrt(400)
    middle = np.mean(first - second)
    assert (found.low, found.high) == pytest.approx((middle - half_width, middle + half_width), abs=0.1 * half_width)


def test_interval_of_medians_covers_the_truth_as_often_as_it_says() -> None:
    random = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        first, second = random.normal(0.0, 1.0, 60), random.normal(0.3, 1.0, 60)
        found = paired_interval(first, second, seed=trial, resamples=400)
        covered += found.low <= -0.3 <= found.high
    assert 180 <= covered <= 200


def test_interval_is_the_same_for_the_same_seed() -> None:
    first, second = np.random.default_rng(6).uniform(size=(2, 30))
    assert paired_interval(first, second, seed=7) == paired_interval(first, second, seed=7)
    assert paired_interval(first, second, seed=7) != paired_interval(first, second, seed=8)


@pytest.mark.parametrize("errors", [[], [np.inf]])
def test_interval_refuses_failures(errors: list[float]) -> None:
    with pytest.raises(ValueError, match="finite errors for both"):
        paired_interval(np.array(errors), np.array(errors), seed=0)
