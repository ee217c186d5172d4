"""Depth maps fitted to known inverse depths: exact factors and shifts, outliers, refusals, deviations that hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from posesplat.align.depth_alignment import DepthAlignmentRule, aligned_depth, sampled_inverse_depths
from posesplat.geometry.depth_map import DepthMap

HEIGHT, WIDTH = 90, 120
FACTOR = 1.7
"""Metres in one unit of the adjustment."""


def smooth(rng: np.random.Generator, size_px: float) -> np.ndarray:
    """A random field of unit variance that changes over about ``size_px``."""
    field = gaussian_filter(rng.standard_normal((HEIGHT, WIDTH)), size_px)
    return field / field.std()


def inverse_metres(rng: np.random.Generator) -> np.ndarray:
    return 0.6 * np.exp(0.35 * smooth(rng, 18.0))


def as_map(inverse: np.ndarray, meaning: str) -> tuple[DepthMap, float, float]:
    """The map that a sensor, or a network of unknown factor 50 and shift 10, would give; factor and shift to find."""
    if meaning == "metric":
        return DepthMap.of(1.0 / inverse, "metric"), FACTOR, 0.0
    if meaning == "relative":
        return DepthMap.of(50.0 * inverse, "relative"), FACTOR / 50.0, 0.0
    return DepthMap.of(50.0 * inverse + 10.0, "affine"), FACTOR / 50.0, -FACTOR * 10.0 / 50.0


def points(rng: np.random.Generator, count: int = 300) -> np.ndarray:
    return rng.uniform((0.5, 0.5), (WIDTH - 0.5, HEIGHT - 0.5), size=(count, 2))


def bilinear(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A plain twin of the sampling."""
    found = []
    for u, v in pixels - 0.5:
        left, top = min(int(u), WIDTH - 2), min(int(v), HEIGHT - 2)
        a, b = u - left, v - top
        cell = image[top : top + 2, left : left + 2]
        found.append((1 - b) * ((1 - a) * cell[0, 0] + a * cell[0, 1]) + b * ((1 - a) * cell[1, 0] + a * cell[1, 1]))
    return np.array(found)


@pytest.mark.parametrize("meaning", ["metric", "relative", "affine"])
@pytest.mark.parametrize("outliers", [0.0, 0.4])
def test_factor_and_shift_are_found_among_outliers(meaning: str, outliers: float) -> None:
    rng = np.random.default_rng(5)
    inverse = inverse_metres(rng)
    depth, factor, shift = as_map(inverse, meaning)
    pixels = points(rng)
    known = FACTOR * bilinear(inverse, pixels)
    wrong = rng.permutation(300) < round(300 * outliers)
    known[wrong] = rng.uniform(0.05, 4.0, wrong.sum())
    found = aligned_depth(depth, pixels, known)
    assert found.success and found.reason == "" and found.points == 300
    np.testing.assert_allclose([found.factor, found.shift], [factor, shift], rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(found.inverse_depths, FACTOR * inverse, rtol=2e-4)
    assert 1.0 - outliers <= found.inlier_share <= 1.0 - 0.6 * outliers
    assert found.relative_spread < 1e-5 if outliers == 0 else found.relative_spread < 0.3


@pytest.mark.parametrize("meaning", ["metric", "affine"])
def test_noisy_points_give_what_least_squares_gives_on_the_good_ones(meaning: str) -> None:
    rng = np.random.default_rng(6)
    inverse = inverse_metres(rng)
    depth, _, _ = as_map(inverse, meaning)
    pixels = points(rng, 400)
    of_map = sampled_inverse_depths(depth, pixels)
    known = FACTOR * bilinear(inverse, pixels) * (1.0 + 0.03 * rng.standard_normal(400))
    wrong = np.arange(400) < 160
    known[wrong] *= rng.choice([0.3, 3.0], 160)
    found = aligned_depth(depth, pixels, known)
    degree = 1 if meaning == "affine" else 0
    design = np.column_stack([of_map, np.ones(400)])[~wrong, : degree + 1]
    weights = 1.0 / known[~wrong]
    expected, *_ = np.linalg.lstsq(design * weights[:, None], known[~wrong] * weights, rcond=None)
    assert abs(found.factor - expected[0]) < 0.02 * expected[0]
    if meaning == "affine":
        assert abs(found.shift - expected[1]) < 0.02 * np.median(known)


def test_the_unit_of_the_adjustment_is_carried_over() -> None:
    rng = np.random.default_rng(7)
    inverse = inverse_metres(rng)
    depth, _, _ = as_map(inverse * np.exp(0.05 * rng.standard_normal(inverse.shape)), "metric")
    pixels = points(rng)
    known = FACTOR * bilinear(inverse, pixels)
    one, three = aligned_depth(depth, pixels, known), aligned_depth(depth, pixels, 3.0 * known)
    np.testing.assert_allclose(
        [three.factor, three.factor_deviation], [3 * one.factor, 3 * one.factor_deviation], rtol=1e-6
    )
    np.testing.assert_allclose([three.inlier_share, three.relative_spread], [one.inlier_share, one.relative_spread])
    np.testing.assert_allclose(three.inverse_depths, 3 * one.inverse_depths, rtol=1e-5)


@pytest.mark.parametrize("bias", [0.0, 0.08])
def test_the_deviation_of_the_metre_holds_for_noise_of_pixels_and_for_smooth_bias(bias: float) -> None:
    """95 % intervals from 40 maps; with a bias that is alike over large regions they may be a little too small."""
    within = []
    for seed in range(40):
        rng = np.random.default_rng(100 + seed)
        inverse = inverse_metres(rng)
        noisy = inverse * np.exp(bias * smooth(rng, 9.0) + 0.05 * rng.standard_normal(inverse.shape))
        pixels = points(rng)
        found = aligned_depth(as_map(noisy, "metric")[0], pixels, FACTOR * bilinear(inverse, pixels))
        assert found.success
        within.append(abs(found.factor - FACTOR) < 1.96 * found.factor_deviation)
    assert np.mean(within) >= (0.8 if bias else 0.9)


def test_pixels_without_depth_are_left_out_and_stay_unknown() -> None:
    rng = np.random.default_rng(8)
    inverse = inverse_metres(rng)
    depth, _, _ = as_map(np.where(np.arange(WIDTH) < 40, np.inf, inverse), "metric")
    pixels = points(rng)
    known = FACTOR * bilinear(inverse, pixels)
    known[::3] = np.nan
    found = aligned_depth(depth, pixels, known)
    assert found.success
    assert found.points == (np.isfinite(known) & (pixels[:, 0] >= 40.5)).sum()
    assert np.isnan(found.inverse_depths[:, :40]).all()
    np.testing.assert_allclose(found.inverse_depths[:, 40:], FACTOR * inverse[:, 40:], rtol=1e-4)


def test_sampling_is_exact_on_planes_up_to_the_border_and_knows_nothing_outside() -> None:
    v, u = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    depth = DepthMap.of(0.3 + 0.01 * u - 0.002 * v, "relative")
    pixels = points(np.random.default_rng(9))
    np.testing.assert_allclose(
        sampled_inverse_depths(depth, pixels), 0.3 + 0.01 * pixels[:, 0] - 0.002 * pixels[:, 1], rtol=1e-6
    )
    outside = np.array([[-0.1, 5.0], [WIDTH + 0.1, 5.0], [5.0, HEIGHT + 0.1]])
    assert np.isnan(sampled_inverse_depths(depth, outside)).all()


def case(seed: int, meaning: str) -> tuple[DepthMap, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    inverse = inverse_metres(rng)
    pixels = points(rng)
    return as_map(inverse, meaning)[0], pixels, FACTOR * bilinear(inverse, pixels)


def test_what_does_not_fit_is_refused_with_its_reason() -> None:
    depth, pixels, known = case(10, "metric")
    few = aligned_depth(depth, pixels[:14], known[:14])
    assert "only 14 points" in few.reason and few.points == 14

    scattered = known * np.exp(np.random.default_rng(0).uniform(-1.5, 1.5, len(known)))
    refused = aligned_depth(depth, pixels, scattered)
    assert "points agree within 25 %; 0.50 are needed" in refused.reason and refused.inlier_share < 0.5

    affine, pixels, known = case(11, "affine")
    reverse = aligned_depth(DepthMap.of(100.0 - affine.values, "affine"), pixels, known)
    assert "wrong way round" in reverse.reason and reverse.factor < 0

    constant = aligned_depth(DepthMap.of(np.full((HEIGHT, WIDTH), 3.0), "affine"), pixels, known)
    assert "one value at all points" in constant.reason

    noise = np.random.default_rng(1).standard_normal((HEIGHT, WIDTH))
    flat = aligned_depth(DepthMap.of(noise, "affine"), pixels, np.random.default_rng(2).normal(1.0, 0.02, len(pixels)))
    assert not flat.success

    for refusal in (few, refused, reverse, constant, flat):
        assert not refusal.success and refusal.inverse_depths is None and refusal.reason


def test_maps_of_other_rooms_are_refused_unless_they_happen_to_be_alike() -> None:
    """A factor alone makes half the points agree by chance; but no better than one constant depth would."""
    accepted = []
    for seed in range(20):
        _, pixels, known = case(200 + seed, "relative")
        other, _, _ = case(300 + seed, "relative")
        alike = np.corrcoef(sampled_inverse_depths(other, pixels), known)[0, 1]
        found = aligned_depth(other, pixels, known)
        assert not (found.success and alike < 0)
        accepted.append(found.success)
        assert aligned_depth(case(200 + seed, "relative")[0], pixels, known).success
    assert sum(accepted) <= 4


def test_points_that_are_as_noisy_as_the_scene_is_deep_still_give_the_metre() -> None:
    rng = np.random.default_rng(14)
    inverse = 0.6 * np.exp(0.15 * smooth(rng, 18.0))
    pixels = points(rng, 600)
    known = FACTOR * bilinear(inverse, pixels) * np.exp(0.2 * rng.standard_normal(600))
    found = aligned_depth(as_map(inverse, "metric")[0], pixels, known)
    assert found.success and found.relative_spread > 0.15
    assert abs(found.factor - FACTOR) < 0.03 * FACTOR


def test_a_good_map_of_a_flat_wall_is_believed_when_only_its_factor_is_sought() -> None:
    rng = np.random.default_rng(12)
    noisy = 0.5 * np.exp(0.04 * rng.standard_normal((HEIGHT, WIDTH)))
    pixels = points(rng)
    known = np.full(len(pixels), 0.5 * FACTOR)
    found = aligned_depth(DepthMap.of(1.0 / noisy, "metric"), pixels, known)
    assert found.success and abs(found.factor - FACTOR) < 0.01 * FACTOR
    assert not aligned_depth(DepthMap.of(noisy, "affine"), pixels, known).success


def test_equal_seeds_give_equal_fits_and_wrong_rules_are_refused() -> None:
    depth, pixels, known = case(13, "affine")
    first, again = aligned_depth(depth, pixels, known), aligned_depth(depth, pixels, known)
    assert first.factor == again.factor and first.shift == again.shift
    with pytest.raises(ValueError, match="tolerance in"):
        DepthAlignmentRule(tolerance=1.5)
    with pytest.raises(ValueError, match="min_points >= 3"):
        DepthAlignmentRule(min_points=2)
