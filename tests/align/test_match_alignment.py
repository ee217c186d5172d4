from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.transform import RigidTransform

from align.paired_points import B_FROM_A, CAMERA_A, CAMERA_B, seen_twice
from posesplat.align.match_alignment import (
    MatchFit,
    MatchRefineOptions,
    MatchState,
    adapted,
    fit_at,
    match_regions,
    match_spread,
    refine_matches,
)
from posesplat.align.matched_depths import MatchedDepths, MatchNoise, depth_at
from posesplat.geometry.matches import Matches
from posesplat.geometry.poses import exp, inverse_covariance, log, perturbed, pose_errors, rescaled

START = perturbed(B_FROM_A, np.array([0.03, -0.02, 0.02, 0.05, 0.04, -0.05]))
CHI2_95 = 12.592
"""Of 6 degrees of freedom."""
LEARNED = MatchNoise(1.0, 0.05, 0.0, bias_terms=6)


def spread_covariance(matched: MatchedDepths, fit: MatchFit) -> np.ndarray | None:
    spread = match_spread(matched, fit)
    return None if spread is None else spread.covariance


def full_gaps(matched: MatchedDepths, state: MatchState) -> np.ndarray:
    """Squared gaps with 3 x 3 covariances written out and inverted, one match at a time."""
    a, b, pixel = matched.a, matched.b, matched.noise.pixel_px
    rotation, translation = state.b_from_a.as_matrix()[:3, :3], state.b_from_a.translation
    gaps = []
    for i in range(len(matched)):
        za = a.depths[i] * np.exp(a.basis[i] @ state.bias_a)
        zb = b.depths[i] * np.exp(b.basis[i] @ state.bias_b)
        if za == 0:
            za = (rotation.T @ (zb * b.rays[i] - translation))[2]
        elif zb == 0:
            zb = (rotation @ (za * a.rays[i]) + translation)[2]
        u, v = rotation @ a.rays[i], b.rays[i]
        gap = zb * v - (za * u + translation)
        across = (pixel * za / a.camera.fx) ** 2 + (pixel * zb / b.camera.fx) ** 2
        covariance = across * np.eye(3) + (a.deviations[i] * za) ** 2 * np.outer(u, u)
        covariance += (b.deviations[i] * zb) ** 2 * np.outer(v, v)
        gaps.append(gap @ np.linalg.solve(covariance, gap))
    return np.array(gaps)


@pytest.mark.parametrize("known", [(1.0, 1.0), (0.5, 1.0)])
@pytest.mark.parametrize("noise", [MatchNoise(), LEARNED])
def test_gaps_agree_with_covariances_written_out(noise: MatchNoise, known: tuple[float, float]) -> None:
    matched = seen_twice(40, 1.0, 0.02, noise=noise, known=known)
    bias = 0.05 * np.arange(noise.bias_terms)
    state = MatchState(START, bias, -bias)
    assert_allclose(fit_at(matched, state).squared, full_gaps(matched, state), rtol=1e-5)


@pytest.mark.parametrize("known", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
def test_exact_matches_have_no_gap_at_the_truth_and_lead_back_to_it(known: tuple[float, float]) -> None:
    matched = seen_twice(60, known=known)
    truth = B_FROM_A if sum(known) else rescaled(B_FROM_A, 1.0 / float(np.linalg.norm(B_FROM_A.translation)))
    assert fit_at(matched, MatchState.at(truth, matched.noise)).squared.max() < 1e-12
    fit = refine_matches(matched, START)
    metres, degrees = pose_errors(fit.state.b_from_a, truth)
    assert metres < 1e-6
    assert degrees < 1e-5


@pytest.mark.parametrize("known", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0)])
@pytest.mark.parametrize("noise", [MatchNoise(), LEARNED])
def test_gradient_agrees_with_finite_differences(noise: MatchNoise, known: tuple[float, float]) -> None:
    # Near the truth, where the change of the covariances with the pose plays no part.
    matched = seen_twice(50, 0.05, 0.0005, noise=noise, known=known)
    truth = B_FROM_A if sum(known) else rescaled(B_FROM_A, 1.0 / float(np.linalg.norm(B_FROM_A.translation)))
    state = MatchState.at(truth, noise)
    split, _ = match_regions(matched, fit_at(matched, state))
    gradient = split.gradients.sum(axis=0)
    size = 6 + 2 * noise.bias_terms
    numeric = np.zeros(size)
    for k in range(size):
        step = 1e-6 * np.eye(size)[k]
        plus, minus = (np.sum(robust(fit_at(matched, state.moved(sign * step)).squared)) for sign in (1, -1))
        numeric[k] = (plus - minus) / 2e-6
    assert_allclose(2 * gradient, numeric, atol=0.02 * np.abs(numeric).max())


def robust(squared: np.ndarray) -> np.ndarray:
    return squared / (1 + squared / 9.0)


def test_scaling_both_depths_scales_the_translation() -> None:
    matched = seen_twice(100, 0.3, 0.005)
    larger = seen_twice(100, 0.3, 0.005, factors=(1.7, 1.7))
    # The share of the depth's noise that grows with depth is left out, so that nothing but the unit differs.
    noise = replace(matched.noise, depth_growth_per_m=0.0)
    poses = []
    for case, start in ((matched, START), (larger, rescaled(START, 1.7))):
        even = replace(
            case,
            noise=noise,
            a=replace(case.a, deviations=np.full(100, 0.01)),
            b=replace(case.b, deviations=np.full(100, 0.01)),
        )
        poses.append(refine_matches(even, start).state.b_from_a)
    assert_allclose(poses[1].translation, 1.7 * poses[0].translation, rtol=1e-5)
    assert_allclose(poses[1].rotation.as_quat(), poses[0].rotation.as_quat(), atol=1e-6)


def test_swapping_the_images_inverts_the_pose() -> None:
    matched = seen_twice(100, 0.5, 0.01)
    there = refine_matches(matched, START)
    back = refine_matches(matched.swapped(), START.inv())
    assert log(there.state.b_from_a * back.state.b_from_a) == pytest.approx(np.zeros(6), abs=1e-4)


@pytest.mark.parametrize("noise", [MatchNoise(1.0, 0.05, 0.0, 1), LEARNED])
def test_the_scale_of_two_maps_that_disagree_is_split_between_them(noise: MatchNoise) -> None:
    matched = seen_twice(200, 0.3, 0.01, noise=noise, factors=(1.1, 1.0 / 1.1))
    state = refine_matches(matched, START).state
    assert state.bias_a[0] == pytest.approx(-np.log(1.1), abs=0.02)
    assert state.bias_b[0] == pytest.approx(np.log(1.1), abs=0.02)
    assert_allclose(state.b_from_a.translation, B_FROM_A.translation, atol=0.01)


def test_noisy_depth_does_not_shrink_the_scene() -> None:
    # A gap and its covariance both shrink with the scale of everything: that must not look like agreement.
    lengths = []
    for seed in range(4):
        matched = seen_twice(400, 0.5, 0.05, noise=LEARNED, seed=seed)
        pose = refine_matches(matched, START).state.b_from_a
        lengths.append(np.linalg.norm(pose.translation) / np.linalg.norm(B_FROM_A.translation))
    assert np.mean(lengths) == pytest.approx(1.0, abs=0.025)


def test_outliers_count_little() -> None:
    matched = seen_twice(200, 0.5, 0.005, outliers=0.5)
    fit = refine_matches(matched, START)
    metres, degrees = pose_errors(fit.state.b_from_a, B_FROM_A)
    assert metres < 0.005
    assert degrees < 0.1
    assert 85 < fit.soft_inliers < 115


def test_pixel_noise_is_read_off_the_epipolar_lines() -> None:
    matched = seen_twice(500, 0.5, 0.02, noise=MatchNoise(2.0, 0.02, 0.0))
    fit = refine_matches(matched, START)
    assert adapted(matched, fit).noise.pixel_px == pytest.approx(0.5, rel=0.15)
    assert adapted(seen_twice(8), fit_at(seen_twice(8), MatchState.at(B_FROM_A, MatchNoise()))).noise == MatchNoise()


@pytest.mark.parametrize("known", [(1.0, 1.0), (0.4, 0.4)])
def test_covariance_holds_the_truth(known: tuple[float, float]) -> None:
    noise = MatchNoise(0.5, 0.01, 0.0)
    inside = []
    for seed in range(30):
        matched = seen_twice(150, 0.5, 0.01, noise=noise, seed=seed, known=known)
        fit = refine_matches(matched, B_FROM_A, MatchRefineOptions(cutoffs=(9.0,), iterations=5))
        covariance = spread_covariance(matched, fit)
        assert covariance is not None
        error = log(B_FROM_A * fit.state.b_from_a.inv())
        inside.append(error @ np.linalg.solve(covariance, error) < CHI2_95)
    # The count of 30 at 95 % is 25 or more in 99 of 100 cases.
    assert sum(inside) >= 25


def test_covariance_is_no_larger_than_needed() -> None:
    noise = MatchNoise(0.5, 0.01, 0.0)
    inside = []
    for seed in range(30):
        matched = seen_twice(300, 0.5, 0.01, noise=noise, seed=seed)
        fit = refine_matches(matched, B_FROM_A, MatchRefineOptions(cutoffs=(9.0,), iterations=5))
        covariance = spread_covariance(matched, fit)
        assert covariance is not None
        error = log(B_FROM_A * fit.state.b_from_a.inv())
        inside.append(4.0 * error @ np.linalg.solve(covariance, error) < CHI2_95)
    # Half as large in every direction, the ellipsoid must lose many.
    assert sum(inside) <= 23


def test_learned_scale_enters_the_covariance() -> None:
    matched = seen_twice(300, 0.5, 0.02, noise=LEARNED)
    covariance = spread_covariance(matched, refine_matches(matched, START))
    assert covariance is not None
    along = B_FROM_A.translation / np.linalg.norm(B_FROM_A.translation)
    # 8 % of each map's scale, split between two maps that are independent.
    expected = 0.08 / np.sqrt(2) * np.linalg.norm(B_FROM_A.translation)
    # The covariance allows for few cells and for depth that errs alike, so it is larger by up to a half.
    assert 0.9 * expected < np.sqrt(along @ covariance[3:, 3:] @ along) < 1.6 * expected


def test_covariance_without_depth_leaves_the_length_alone() -> None:
    matched = seen_twice(200, 0.5, known=(0.0, 0.0))
    fit = refine_matches(matched, START)
    covariance = spread_covariance(matched, fit)
    assert covariance is not None
    assert np.linalg.norm(fit.state.b_from_a.translation) == pytest.approx(1.0)
    values, vectors = np.linalg.eigh(covariance[3:, 3:])
    assert abs(vectors[:, 0] @ fit.state.b_from_a.translation) > 0.99
    assert np.sqrt(values[0]) < 2e-3


def test_covariance_of_the_inverse_is_that_of_swapped_images() -> None:
    matched = seen_twice(400, 0.5, 0.01)
    there = refine_matches(matched, START)
    back = refine_matches(matched.swapped(), START.inv())
    one, other = spread_covariance(matched, there), spread_covariance(matched.swapped(), back)
    assert one is not None
    assert other is not None
    # Cells are those of the first image, so the two differ as two samples do.
    assert_allclose(np.diag(inverse_covariance(there.state.b_from_a, one)), np.diag(other), rtol=0.7)


def test_depth_is_the_median_of_its_surroundings() -> None:
    depth = np.full((20, 30), 2.0, dtype=np.float32)
    depth[:, 15:] = 4.0
    depth[10, 5] = 9.0
    depth[:3, :5] = 0.0
    pixels = np.array([[5.5, 10.5], [0.5, 0.5], [25.0, 15.0], [15.5, 10.5]])
    found, spread = depth_at(depth, pixels)
    assert_allclose(found, [2.0, 0.0, 4.0, 4.0])
    assert_allclose(spread, [0.0, 0.0, 0.0, 0.0], atol=1e-7)


def test_missing_depth_is_read_as_missing() -> None:
    matches = Matches(np.array([[10.0, 10.0]]), np.array([[20.0, 10.0]]), np.ones(1))
    matched = MatchedDepths.of(matches, CAMERA_A, CAMERA_B, np.zeros((480, 640), np.float32), None)
    assert not matched.metric
    assert matched.median_depth == 1.0


@pytest.mark.parametrize("settings", [{"pixel_px": 0.0}, {"bias_terms": 2}, {"depth_growth_per_m": -1.0}])
def test_impossible_noise_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="MatchNoise"):
        MatchNoise(**settings)  # type: ignore[arg-type]


def test_identity_motion_is_found_from_depth() -> None:
    matched = seen_twice(80, 0.2, 0.005, b_from_a=RigidTransform.identity())
    pose = refine_matches(matched, exp(np.full(6, 0.02))).state.b_from_a
    assert np.abs(log(pose)).max() < 3e-3
