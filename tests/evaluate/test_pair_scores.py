from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform, Rotation
from scipy.stats import chi2

from posesplat.evaluate.metrics import pose_auc
from posesplat.evaluate.protocols.pair_cases import PairCase
from posesplat.evaluate.protocols.pair_flags import (
    accepted_elsewhere,
    flagged,
    precision_recall,
    threshold_for,
    wilson,
)
from posesplat.evaluate.protocols.pair_scores import (
    REFUSED,
    angle_between,
    aucs,
    normalised_error,
    paired_auc_interval,
    scored,
)
from posesplat.geometry.cameras import Camera
from posesplat.geometry.estimate import PoseEstimate, Scale
from posesplat.geometry.frame import Frame

SENSOR = Scale(True, "depth sensor")
CAMERA = Camera(40.0, 40.0, 20.0, 15.0, 40, 30)


def case(baseline: float, depth: float = 2.0, metric: bool = True) -> PairCase:
    frame = Frame(CAMERA, np.zeros((30, 40, 3), np.uint8), np.full((30, 40), depth, np.float32))
    true = RigidTransform.from_translation([baseline, 0.0, 0.0])
    return PairCase("pair", "scene", "set", "> 70 %", 0.8, frame, frame, true, 0, metric)


def guess(x: float, y: float = 0.0, degrees: float = 0.0) -> PoseEstimate:
    """Turned about B's own centre, so that the centre is told by (x, y) alone."""
    turn = Rotation.from_euler("x", degrees, degrees=True)
    return PoseEstimate(True, "", RigidTransform.from_components(turn.apply([x, y, 0.0]), turn))


def test_errors_in_all_their_units() -> None:
    score = scored(guess(1.0, 0.1), case(1.0))
    assert score.rotation_deg == pytest.approx(0.0, abs=1e-6)
    assert score.translation_cm == pytest.approx(10.0) and score.baseline_percent == pytest.approx(10.0)
    assert score.direction_deg == pytest.approx(math.degrees(math.atan(0.1)))
    assert score.error_deg == score.direction_deg
    turned = scored(guess(1.0, 0.0, 30.0), case(1.0))
    assert turned.rotation_deg == pytest.approx(30.0) and turned.translation_cm == pytest.approx(0.0, abs=1e-9)
    assert turned.error_deg == pytest.approx(30.0) and not turned.success


@pytest.mark.parametrize(
    ("estimate", "baseline", "success", "good"),
    [
        (guess(1.0, 0.09), 1.0, True, True),
        (guess(1.0, 0.12), 1.0, False, True),
        (guess(1.0, 0.16), 1.0, False, False),
        (guess(5.0, 0.45), 5.0, True, True),
        (guess(0.05, 0.09), 0.05, True, True),
        (guess(1.0, 0.0, 4.9), 1.0, True, True),
        (guess(1.0, 0.0, 5.1), 1.0, False, False),
    ],
)
def test_success_is_metric_or_relative(estimate: PoseEstimate, baseline: float, success: bool, good: bool) -> None:
    score = scored(estimate, case(baseline))
    assert (score.success, score.good) == (success, good)


def test_a_small_baseline_has_no_direction_to_speak_of() -> None:
    # 1 cm off at 2 m is 0.29 degrees, whatever the direction.
    score = scored(guess(0.0, 0.02), case(0.02))
    assert score.direction_deg == pytest.approx(90.0)
    assert score.error_deg == pytest.approx(math.degrees(math.atan(0.02 * math.sqrt(2) / 2.0)))
    assert scored(guess(0.0, 0.2), case(0.2)).error_deg == pytest.approx(90.0)


def test_directions_alone_and_refusals() -> None:
    without = scored(guess(7.0, 0.7), case(1.0, metric=False))
    assert np.isnan(without.translation_cm) and without.success
    assert not scored(guess(-1.0), case(1.0), metric=False).success
    assert scored(guess(-1.0), case(1.0), metric=False).direction_deg == pytest.approx(180.0)
    assert scored(PoseEstimate.failure("no"), case(1.0)) is REFUSED and REFUSED.error_deg == math.inf
    assert angle_between(np.zeros(3), np.ones(3)) == 180.0


def test_many_aucs_are_those_of_the_field() -> None:
    rng = np.random.default_rng(0)
    errors = rng.exponential(8.0, size=(20, 33))
    errors[3, 5:9] = np.inf
    errors[4] = np.inf
    errors[5] = 0.0
    errors[6, :4] = 10.0
    for threshold in (5.0, 10.0, 20.0):
        expected = [pose_auc(row, [threshold])[0] for row in errors]
        np.testing.assert_allclose(aucs(errors, threshold), expected, atol=1e-12)


def test_the_interval_of_an_auc_difference_covers() -> None:
    """Over repeated experiments the 95 % interval holds the true difference about 95 % of the time."""
    rng = np.random.default_rng(1)
    # Uniform errors on [0, 10] and [0, 12.5] have expected AUC@10 of 50 and 40 per cent.
    held, excluded = 0, 0
    for seed in range(60):
        shared = rng.uniform(size=80)
        interval = paired_auc_interval(10.0 * shared, 12.5 * rng.permutation(shared), 10.0, seed)
        held += interval.low <= 10.0 <= interval.high
        # The better one is subtracted from: a positive difference is in favour of the first.
        excluded += interval.low > 0
    assert held >= 52
    assert excluded > 20


def test_normalised_errors_follow_chi_square() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 6)) * 0.01
    covariance = root @ root.T + 1e-6 * np.eye(6)
    true = RigidTransform.from_components([0.3, 0.1, 0.5], Rotation.from_rotvec([0.2, -0.1, 0.4]))
    values = []
    for _ in range(400):
        tangent = rng.multivariate_normal(np.zeros(6), covariance)
        estimate = PoseEstimate(True, "", RigidTransform.from_exp_coords(tangent) * true, covariance, scale=SENSOR)
        values.append(normalised_error(estimate, true))
    assert np.mean(np.array(values) <= chi2.ppf(0.95, 6)) == pytest.approx(0.95, abs=0.035)
    assert np.isnan(normalised_error(guess(1.0), true))
    # An exact estimate of a truth that is 1 degree and 2 cm off: errors of one sigma along two axes.
    off = PoseEstimate(True, "", RigidTransform.from_exp_coords([math.radians(1), 0, 0, 0, 0.02, 0]), np.zeros((6, 6)))
    off = off.replace(scale=SENSOR)
    assert normalised_error(off, RigidTransform.identity(), (1.0, 0.02)) == pytest.approx(2.0)
    assert normalised_error(off, RigidTransform.identity()) == math.inf


def test_without_scale_rotation_and_direction_are_asked_for() -> None:
    rng = np.random.default_rng(5)
    true = RigidTransform.from_components([0.3, 0.1, 0.5], Rotation.from_rotvec([0.2, -0.1, 0.4]))
    unit = RigidTransform.from_components(true.translation / np.linalg.norm(true.translation), true.rotation)
    root = rng.normal(size=(6, 6)) * 0.01
    along = np.r_[np.zeros(3), unit.translation]
    across = np.eye(6) - np.outer(along, along)
    covariance = across @ root @ root.T @ across
    values = []
    for _ in range(400):
        tangent = rng.multivariate_normal(np.zeros(6), covariance)
        # Any length will do, and its own variance does not count.
        found = RigidTransform.from_exp_coords(tangent) * unit
        scaled = RigidTransform.from_components(7.0 * found.translation, found.rotation)
        told = covariance + 1e3 * np.outer(along, along)
        values.append(normalised_error(PoseEstimate(True, "", scaled, told), true))
    assert np.mean(np.array(values) <= chi2.ppf(0.95, 6)) == pytest.approx(0.95, abs=0.035)
    assert np.median(values) == pytest.approx(chi2.ppf(0.5, 6), rel=0.15)


SCORES = np.array([9.0, 8.0, 7.0, 6.0, 5.0, np.nan])
GOOD = np.array([True, True, False, True, True, True])


def test_the_threshold_is_the_lowest_that_is_precise() -> None:
    assert threshold_for(SCORES, GOOD, 0.95) == 8.0
    assert threshold_for(SCORES, GOOD, 0.8) == 5.0
    assert threshold_for(SCORES, ~GOOD, 0.95) == math.inf
    # Answers of equal score stand or fall together.
    assert threshold_for(np.array([5.0, 5.0, 4.0]), np.array([True, False, True]), 0.6) == 4.0
    assert threshold_for(np.array([5.0, 5.0]), np.array([True, False]), 0.95) == math.inf


def test_thresholds_come_from_other_scenes() -> None:
    scores = np.array([1.0, 2.0, 10.0, 20.0])
    good = np.array([False, True, False, True])
    # Scene a alone would call for 2, scene b for 20.
    accepted = accepted_elsewhere(scores, good, ["a", "a", "b", "b"])
    np.testing.assert_array_equal(accepted, [False, False, True, True])
    found = flagged(accepted, good)
    assert (found.accepted, found.precision, found.recall) == (2, 0.5, 0.5)


def test_precision_recall_by_hand() -> None:
    precision, recall = precision_recall(SCORES, GOOD)
    np.testing.assert_allclose(precision, [1, 1, 2 / 3, 3 / 4, 4 / 5])
    np.testing.assert_allclose(recall, np.array([1, 2, 2, 3, 4]) / 5)
    assert len(precision_recall(np.full(3, np.nan), np.ones(3, dtype=bool))[0]) == 0


def test_wilson_is_the_published_interval() -> None:
    # Wilson 1927: centre (p + z^2/2n) / (1 + z^2/n), for 8 of 10 at z = 1.959964.
    z, n, p = 1.959964, 10, 0.8
    centre, half = (p + z * z / (2 * n)), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(8, 10) == pytest.approx(
        ((centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)), abs=1e-6
    )
    assert wilson(0, 0) == (0.0, 1.0)
